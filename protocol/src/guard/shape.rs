//! How a message lies on the wire: the words that the tables of [`crate::guard`] are written in.
//!
//! A [`Message`] is a list of fields in wire order, each with the versions that have it. Tagged fields stand where
//! Kafka's schema lists them, but lie on the wire in the tagged section that ends every structure of a flexible
//! version (KIP-482).

use std::ops::RangeInclusive;

/// One API: its request and its response.
#[derive(Debug)]
pub struct Api {
    /// The API key.
    pub key: i16,
    /// Kafka's name of the API.
    pub name: &'static str,
    /// The body of its request.
    pub request: Message,
    /// The body of its response.
    pub response: Message,
}

/// The body of a request or response, or a structure that clients put into a bytes field.
#[derive(Debug)]
pub struct Message {
    /// The oldest version that the codec decodes.
    pub oldest: i16,
    /// The newest version that the codec decodes.
    pub newest: i16,
    /// The first version with compact lengths and tagged fields; above `newest` if none has them.
    pub flexible: i16,
    /// The fields of all versions.
    pub fields: &'static [Field],
}

/// One field of a message or of a structure in it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The field's name, as `kafka-protocol` spells it.
    pub name: &'static str,
    /// The first version that has the field.
    pub since: i16,
    /// The last version that has it.
    pub until: i16,
    /// The first version in which it may be null.
    pub null_since: i16,
    /// Its number in the tagged section, or -1 if it is an ordinary field.
    pub tag: i32,
    /// What it holds.
    pub holds: Holds,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Holds {
    /// A number of fixed width.
    Scalar(Scalar),
    /// UTF-8 of at most 32,767 bytes.
    String,
    /// Bytes, records among them.
    Bytes,
    /// A structure. If it may be null, a byte (1 or -1) before it says whether it is there.
    Object(&'static [Field]),
    /// An array of numbers.
    Scalars(Scalar),
    /// An array of strings.
    Strings,
    /// An array of structures.
    Array {
        /// The fields of an element.
        fields: &'static [Field],
        /// No element takes fewer bytes, in any version; at least 1.
        least: usize,
    },
}

/// Numbers of fixed width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Scalar {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
}

impl Scalar {
    /// Bytes on the wire.
    pub const fn width(self) -> usize {
        match self {
            Scalar::Bool | Scalar::Int8 => 1,
            Scalar::Int16 | Scalar::Uint16 => 2,
            Scalar::Int32 => 4,
            Scalar::Int64 | Scalar::Float64 => 8,
            Scalar::Uuid => 16,
        }
    }
}

impl Message {
    /// Whether the codec decodes this version.
    pub const fn has(&self, version: i16) -> bool {
        self.oldest <= version && version <= self.newest
    }

    pub(super) const fn flexible(mut self, first: i16) -> Self {
        self.flexible = first;
        self
    }

    pub(super) const fn of(mut self, fields: &'static [Field]) -> Self {
        self.fields = fields;
        self
    }
}

/// A message without fields in versions `versions`, none of them flexible.
pub(super) const fn message(versions: RangeInclusive<i16>) -> Message {
    Message { oldest: *versions.start(), newest: *versions.end(), flexible: i16::MAX, fields: &[] }
}

impl Field {
    const fn new(name: &'static str, holds: Holds) -> Self {
        Field { name, since: 0, until: i16::MAX, null_since: i16::MAX, tag: -1, holds }
    }

    /// Whether `version` has this field, ordinary or tagged.
    #[inline]
    pub const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    /// Whether the field may be null in `version`.
    #[inline]
    pub const fn is_nullable(&self, version: i16) -> bool {
        self.null_since <= version
    }

    pub(super) const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    pub(super) const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    pub(super) const fn nullable(mut self) -> Self {
        self.null_since = 0;
        self
    }

    pub(super) const fn nullable_since(mut self, version: i16) -> Self {
        self.null_since = version;
        self
    }

    pub(super) const fn tag(mut self, number: i32) -> Self {
        self.tag = number;
        self
    }

    /// The fields of an object, or of the elements of an array: comes after `since` and `until`.
    pub(super) const fn of(mut self, fields: &'static [Field]) -> Self {
        self.holds = match self.holds {
            Holds::Array { .. } => Holds::Array { fields, least: least_element(fields, self.since, self.until) },
            _ => Holds::Object(fields),
        };
        self
    }
}

/// The size of the smallest element that any version from `since` to `until` can have. A table with an element of
/// no bytes does not compile: its count could not be bounded by the bytes that follow.
const fn least_element(fields: &[Field], since: i16, until: i16) -> usize {
    const NEWEST_OF_ALL: i16 = 20;
    let mut least = usize::MAX;
    let mut version = since;
    while version <= until && version <= NEWEST_OF_ALL {
        let size = least_size(fields, version);
        // A field that no version carries yet (or any more) leaves gaps at the ends of an open range.
        if size > 0 && size < least {
            least = size;
        }
        version += 1;
    }
    assert!(least != usize::MAX, "array elements must take bytes");
    least
}

const fn least_size(fields: &[Field], version: i16) -> usize {
    let mut size = 0;
    let mut i = 0;
    while i < fields.len() {
        let field = &fields[i];
        if field.is_in(version) && field.tag < 0 {
            size += match field.holds {
                Holds::Scalar(scalar) => scalar.width(),
                Holds::Object(_) if field.is_nullable(version) => 1,
                Holds::Object(fields) => least_size(fields, version),
                _ => 1, // a compact length
            };
        }
        i += 1;
    }
    size
}

macro_rules! scalars {
    ($($one:ident $many:ident $scalar:ident,)*) => {$(
        pub(super) const fn $one(name: &'static str) -> Field {
            Field::new(name, Holds::Scalar(Scalar::$scalar))
        }

        #[allow(dead_code, reason = "not every number comes in arrays")]
        pub(super) const fn $many(name: &'static str) -> Field {
            Field::new(name, Holds::Scalars(Scalar::$scalar))
        }
    )*};
}

scalars! {
    bool bools Bool,
    int8 int8s Int8,
    int16 int16s Int16,
    uint16 uint16s Uint16,
    int32 int32s Int32,
    int64 int64s Int64,
    float64 float64s Float64,
    uuid uuids Uuid,
}

pub(super) const fn string(name: &'static str) -> Field {
    Field::new(name, Holds::String)
}

pub(super) const fn strings(name: &'static str) -> Field {
    Field::new(name, Holds::Strings)
}

pub(super) const fn bytes(name: &'static str) -> Field {
    Field::new(name, Holds::Bytes)
}

pub(super) const fn object(name: &'static str) -> Field {
    Field::new(name, Holds::Object(&[]))
}

pub(super) const fn array(name: &'static str) -> Field {
    Field::new(name, Holds::Array { fields: &[], least: 1 })
}
