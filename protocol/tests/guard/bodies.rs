//! Bodies made from a shape: valid ones, and ones with a single lie.

use std::cmp::Ordering;

use jackdaw_protocol::guard::shape::{Field, Holds, Message, Scalar};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The seed of a run: fixed, so that a failure comes back, unless `JACKDAW_SEED` names another.
pub(crate) fn seed() -> u64 {
    match std::env::var("JACKDAW_SEED") {
        Ok(text) => text.parse().expect("JACKDAW_SEED is a number"),
        Err(_) => 0x6a61_636b_6461_7721,
    }
}

/// A place in a body where a lie can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The count of an array, or the length of bytes; whether it may be null.
    Length { nullable: bool },
    /// The length of a string.
    StringLength { nullable: bool },
    /// The text of a string, at least one byte.
    Text,
    /// The size of a tagged field that the shape knows.
    TagSize,
    /// The number of tagged fields.
    TagCount,
    /// The byte that says whether a structure is there.
    Marker,
}

/// What to write at a place instead of the truth.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lie {
    /// This number, as the length, count, size or marker.
    Claim(i64),
    /// One more than is true.
    OneMore,
    /// One less than is true.
    OneLess,
    /// Text that is not UTF-8.
    BadText,
    /// One more tagged field, that only other versions have; no lie where there is none.
    TagOfOtherVersion,
    /// A variable-length integer of five bytes without an end.
    EndlessVarint,
}

/// A body, and the places in it in the order they were written: the same seed gives the same places.
pub(crate) struct Body {
    pub bytes: Vec<u8>,
    pub places: Vec<Place>,
    /// Whether [`Lie::TagOfOtherVersion`] was told.
    pub told_of_other_version: bool,
}

/// How much a body is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Anything valid.
    Random,
    /// The smallest values everywhere, so that decoders allocate most for each byte.
    Dense(Dense),
}

/// A body that is mostly one kind of element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dense {
    /// The number of elements in the arrays at `depth`.
    pub elements: usize,
    /// How deep those arrays lie; 1 for the fields of the message itself. Arrays above have one element.
    pub depth: usize,
    /// The number of elements of arrays below `depth`.
    pub below: usize,
    /// Whether each structure carries a tagged field that no shape knows.
    pub unknown_tags: bool,
}

/// A valid body of `message`.
pub(crate) fn valid(message: &Message, version: i16, seed: u64) -> Body {
    make(message, version, seed, Fill::Random, None)
}

/// The body of the same seed, with a lie at one of its places.
pub(crate) fn lying(message: &Message, version: i16, seed: u64, place: usize, lie: Lie) -> Body {
    make(message, version, seed, Fill::Random, Some((place, lie)))
}

/// A valid body of small values.
pub(crate) fn dense(message: &Message, version: i16, dense: Dense) -> Body {
    make(message, version, 0, Fill::Dense(dense), None)
}

fn make(message: &Message, version: i16, seed: u64, fill: Fill, lie: Option<(usize, Lie)>) -> Body {
    let flexible = version >= message.flexible;
    let rng = SmallRng::seed_from_u64(seed ^ u64::from(version.unsigned_abs()).rotate_left(48));
    let mut maker = Maker {
        version,
        flexible,
        rng,
        fill,
        lie,
        out: Vec::new(),
        places: Vec::new(),
        told_of_other_version: false,
        depth: 0,
    };
    maker.structure(message.fields, false);
    Body { bytes: maker.out, places: maker.places, told_of_other_version: maker.told_of_other_version }
}

struct Maker {
    version: i16,
    flexible: bool,
    rng: SmallRng,
    fill: Fill,
    lie: Option<(usize, Lie)>,
    out: Vec<u8>,
    places: Vec<Place>,
    told_of_other_version: bool,
    depth: usize,
}

impl Maker {
    /// `telling`: no value may be a field's default, since the codec leaves out tagged fields that hold it.
    fn structure(&mut self, fields: &[Field], telling: bool) {
        let version = self.version;
        self.depth += 1;
        for field in fields.iter().filter(|field| field.tag < 0 && field.is_in(version)) {
            self.value(field, telling);
        }
        if self.flexible {
            self.tagged(fields);
        }
        self.depth -= 1;
    }

    fn tagged(&mut self, fields: &[Field]) {
        let version = self.version;
        let mut known: Vec<&Field> =
            fields.iter().filter(|field| field.tag >= 0 && field.is_in(version) && self.rng.random_bool(0.5)).collect();
        let unknown = match self.fill {
            Fill::Random => [0, 0, 0, 1, 2][self.rng.random_range(0..5)],
            Fill::Dense(dense) => {
                known.clear();
                usize::from(dense.unknown_tags)
            }
        };
        let mut tags: Vec<(i32, Option<&Field>)> = known.into_iter().map(|field| (field.tag, Some(field))).collect();
        // The first numbers that the shape does not have: were the codec to know them, it would choke on them.
        let free = (0..).filter(|tag| fields.iter().all(|field| field.tag != *tag));
        tags.extend(free.take(unknown).map(|tag| (tag, None)));
        tags.sort_by_key(|(tag, _)| *tag);

        let foreign = match self.lie_at(Place::TagCount) {
            Some(Lie::TagOfOtherVersion) => fields.iter().find(|field| field.tag >= 0 && !field.is_in(version)),
            _ => None,
        };
        self.told_of_other_version |= foreign.is_some();
        self.varint_or_lie(self.places.len() - 1, tags.len() + usize::from(foreign.is_some()));
        for (tag, field) in tags {
            self.varint(tag as u64);
            match field {
                Some(field) => self.known_tag(field),
                None => {
                    let size = if self.fill == Fill::Random { self.rng.random_range(0..5) } else { 0 };
                    self.varint(size);
                    self.out.extend((0..size).map(|_| self.rng.random::<u8>()));
                }
            }
        }
        if let Some(foreign) = foreign {
            self.varint(foreign.tag as u64);
            self.varint(0);
        }
    }

    fn known_tag(&mut self, field: &Field) {
        let outer = std::mem::take(&mut self.out);
        let place = self.places.len();
        self.places.push(Place::TagSize);
        self.value(field, true);
        let content = std::mem::replace(&mut self.out, outer);
        self.varint_or_lie(place, content.len());
        self.out.extend(content);
    }

    fn value(&mut self, field: &Field, telling: bool) {
        let nullable = field.is_nullable(self.version);
        let null = nullable && !telling && self.fill == Fill::Random && self.rng.random_bool(0.2);
        match field.holds {
            Holds::Scalar(scalar) => self.scalar(scalar, telling),
            Holds::String => self.string(nullable, null, telling),
            Holds::Bytes => {
                let len = if null { None } else { Some(self.few(telling)) };
                self.length(nullable, len);
                for _ in 0..len.unwrap_or(0) {
                    let byte = self.rng.random();
                    self.out.push(byte);
                }
            }
            Holds::Object(fields) => {
                if nullable {
                    let marker = if null { -1_i8 } else { 1 };
                    let written = match self.lie_at(Place::Marker) {
                        Some(Lie::Claim(claim)) => claim as i8,
                        _ => marker,
                    };
                    self.out.push(written as u8);
                }
                if !null {
                    self.structure(fields, telling);
                }
            }
            Holds::Scalars(_) | Holds::Strings | Holds::Array { .. } => self.array(field, nullable, null, telling),
        }
    }

    fn array(&mut self, field: &Field, nullable: bool, null: bool, telling: bool) {
        let count = if null { None } else { Some(self.elements(telling)) };
        self.length(nullable, count);
        for _ in 0..count.unwrap_or(0) {
            match field.holds {
                Holds::Scalars(scalar) => self.scalar(scalar, false),
                Holds::Strings => self.string(false, false, false),
                Holds::Array { fields, .. } => self.structure(fields, false),
                _ => unreachable!("not an array"),
            }
        }
    }

    fn elements(&mut self, telling: bool) -> usize {
        match self.fill {
            Fill::Random => self.few(telling).min(if self.depth > 3 { 1 } else { 3 }),
            Fill::Dense(dense) => match self.depth.cmp(&dense.depth) {
                Ordering::Less => 1,
                Ordering::Equal => dense.elements,
                Ordering::Greater => dense.below,
            },
        }
    }

    fn few(&mut self, telling: bool) -> usize {
        match self.fill {
            Fill::Random => self.rng.random_range(usize::from(telling)..4),
            Fill::Dense(_) => 0,
        }
    }

    fn scalar(&mut self, scalar: Scalar, telling: bool) {
        match scalar {
            Scalar::Bool => {
                let value = telling || self.rng.random();
                self.out.push(u8::from(value));
            }
            Scalar::Float64 => {
                let value: f64 = self.rng.random_range(0.1..1e9);
                self.out.extend(value.to_be_bytes());
            }
            _ => {
                // Never a usual default: 0, -1, or a number with all bits but the sign.
                for _ in 0..scalar.width() {
                    let byte = if telling { self.rng.random_range(2..100) } else { self.rng.random() };
                    self.out.push(byte);
                }
            }
        }
    }

    fn string(&mut self, nullable: bool, null: bool, telling: bool) {
        let text: String =
            (0..self.few(telling)).map(|_| ['a', 'Z', '-', 'é', '水', '🦀'][self.rng.random_range(0..6)]).collect();
        let len = if null { None } else { Some(text.len()) };
        let place = Place::StringLength { nullable };
        if self.flexible {
            self.unsigned(place, len.map_or(0, |len| len + 1));
        } else {
            let lie = self.lie_at(place);
            let len = lied(lie, len.map_or(-1, |len| len as i64));
            self.out.extend((len as i16).to_be_bytes());
        }
        if !null && !text.is_empty() {
            match self.lie_at(Place::Text) {
                Some(Lie::BadText) => self.out.extend(vec![0xff; text.len()]),
                _ => self.out.extend(text.as_bytes()),
            }
        }
    }

    fn length(&mut self, nullable: bool, len: Option<usize>) {
        let place = Place::Length { nullable };
        if self.flexible {
            self.unsigned(place, len.map_or(0, |len| len + 1));
        } else {
            let lie = self.lie_at(place);
            let len = lied(lie, len.map_or(-1, |len| len as i64));
            self.out.extend((len as i32).to_be_bytes());
        }
    }

    /// Notes a place, and returns the lie to tell there.
    fn lie_at(&mut self, place: Place) -> Option<Lie> {
        self.places.push(place);
        self.lie.filter(|(at, _)| *at == self.places.len() - 1).map(|(_, lie)| lie)
    }

    fn unsigned(&mut self, place: Place, value: usize) {
        self.places.push(place);
        self.varint_or_lie(self.places.len() - 1, value);
    }

    fn varint_or_lie(&mut self, place: usize, value: usize) {
        let lie = self.lie.filter(|(at, _)| *at == place).map(|(_, lie)| lie);
        match (lie, self.places[place]) {
            (Some(Lie::EndlessVarint), _) => self.out.extend([0xff; 5]),
            // A claim is what the number means; lengths are written as one more.
            (Some(Lie::Claim(claim)), Place::Length { .. } | Place::StringLength { .. }) => {
                self.varint((claim + 1) as u64);
            }
            _ => self.varint(lied(lie, value as i64) as u64),
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

fn lied(lie: Option<Lie>, truth: i64) -> i64 {
    match lie {
        Some(Lie::Claim(claim)) => claim,
        Some(Lie::OneMore) => truth + 1,
        Some(Lie::OneLess) => truth - 1,
        _ => truth,
    }
}
