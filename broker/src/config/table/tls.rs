//! TLS. Jackdaw has no TLS listener yet: the names are known so that files that carry them load.

use super::row;
use crate::config::definition::Importance::{Low, Medium};
use crate::config::definition::Type::{Boolean, Class, List, Password, String};
use crate::config::definition::Update::{PerBroker, ReadOnly};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("ssl.allow.dn.changes", Boolean, Some("false"), Check::Any, Low, ReadOnly, ""),
    row("ssl.allow.san.changes", Boolean, Some("false"), Check::Any, Low, ReadOnly, ""),
    row("ssl.cipher.suites", List, Some(""), Check::Any, Medium, PerBroker, ""),
    row(
        "ssl.client.auth",
        String,
        Some("none"),
        Check::OneOf(&["required", "requested", "none"]),
        Medium,
        PerBroker,
        "",
    ),
    row("ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Check::Any, Medium, PerBroker, ""),
    row("ssl.endpoint.identification.algorithm", String, Some("https"), Check::Any, Low, PerBroker, ""),
    row("ssl.engine.factory.class", Class, None, Check::Any, Low, PerBroker, ""),
    row("ssl.key.password", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.keymanager.algorithm", String, Some("SunX509"), Check::Any, Medium, PerBroker, ""),
    row("ssl.keystore.certificate.chain", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.keystore.key", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.keystore.location", String, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.keystore.password", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.keystore.type", String, Some("JKS"), Check::Any, Medium, PerBroker, ""),
    row("ssl.principal.mapping.rules", String, Some("DEFAULT"), Check::Any, Low, ReadOnly, ""),
    row("ssl.protocol", String, Some("TLSv1.3"), Check::Any, Medium, PerBroker, ""),
    row("ssl.provider", String, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.secure.random.implementation", String, None, Check::Any, Low, PerBroker, ""),
    row("ssl.trustmanager.algorithm", String, Some("PKIX"), Check::Any, Medium, PerBroker, ""),
    row("ssl.truststore.certificates", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.truststore.location", String, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.truststore.password", Password, None, Check::Any, Medium, PerBroker, ""),
    row("ssl.truststore.type", String, Some("JKS"), Check::Any, Medium, PerBroker, ""),
];
