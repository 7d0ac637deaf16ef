//! Shapes: authentication, access rules, delegation tokens and quotas.

use crate::guard::shape::{Api, array, bool, bytes, float64, int8, int16, int32, int64, message, string, strings};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 17,
        name: "SaslHandshake",
        request: message(0..=1).of(&[string("mechanism")]),
        response: message(0..=1).of(&[int16("error_code"), strings("mechanisms")]),
    },
    Api {
        key: 29,
        name: "DescribeAcls",
        request: message(1..=3).flexible(2).of(&[
            int8("resource_type_filter"),
            string("resource_name_filter").nullable(),
            int8("pattern_type_filter"),
            string("principal_filter").nullable(),
            string("host_filter").nullable(),
            int8("operation"),
            int8("permission_type"),
        ]),
        response: message(1..=3).flexible(2).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("resources").of(&[
                int8("resource_type"),
                string("resource_name"),
                int8("pattern_type"),
                array("acls").of(&[string("principal"), string("host"), int8("operation"), int8("permission_type")]),
            ]),
        ]),
    },
    Api {
        key: 30,
        name: "CreateAcls",
        request: message(1..=3).flexible(2).of(&[array("creations").of(&[
            int8("resource_type"),
            string("resource_name"),
            int8("resource_pattern_type"),
            string("principal"),
            string("host"),
            int8("operation"),
            int8("permission_type"),
        ])]),
        response: message(1..=3).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("results").of(&[int16("error_code"), string("error_message").nullable()]),
        ]),
    },
    Api {
        key: 31,
        name: "DeleteAcls",
        request: message(1..=3).flexible(2).of(&[array("filters").of(&[
            int8("resource_type_filter"),
            string("resource_name_filter").nullable(),
            int8("pattern_type_filter"),
            string("principal_filter").nullable(),
            string("host_filter").nullable(),
            int8("operation"),
            int8("permission_type"),
        ])]),
        response: message(1..=3).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("filter_results").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                array("matching_acls").of(&[
                    int16("error_code"),
                    string("error_message").nullable(),
                    int8("resource_type"),
                    string("resource_name"),
                    int8("pattern_type"),
                    string("principal"),
                    string("host"),
                    int8("operation"),
                    int8("permission_type"),
                ]),
            ]),
        ]),
    },
    Api {
        key: 36,
        name: "SaslAuthenticate",
        request: message(0..=2).flexible(2).of(&[bytes("auth_bytes")]),
        response: message(0..=2).flexible(2).of(&[
            int16("error_code"),
            string("error_message").nullable(),
            bytes("auth_bytes"),
            int64("session_lifetime_ms").since(1),
        ]),
    },
    Api {
        key: 38,
        name: "CreateDelegationToken",
        request: message(1..=3).flexible(2).of(&[
            string("owner_principal_type").since(3).nullable(),
            string("owner_principal_name").since(3).nullable(),
            array("renewers").of(&[string("principal_type"), string("principal_name")]),
            int64("max_lifetime_ms"),
        ]),
        response: message(1..=3).flexible(2).of(&[
            int16("error_code"),
            string("principal_type"),
            string("principal_name"),
            string("token_requester_principal_type").since(3),
            string("token_requester_principal_name").since(3),
            int64("issue_timestamp_ms"),
            int64("expiry_timestamp_ms"),
            int64("max_timestamp_ms"),
            string("token_id"),
            bytes("hmac"),
            int32("throttle_time_ms"),
        ]),
    },
    Api {
        key: 39,
        name: "RenewDelegationToken",
        request: message(1..=2).flexible(2).of(&[bytes("hmac"), int64("renew_period_ms")]),
        response: message(1..=2).flexible(2).of(&[
            int16("error_code"),
            int64("expiry_timestamp_ms"),
            int32("throttle_time_ms"),
        ]),
    },
    Api {
        key: 40,
        name: "ExpireDelegationToken",
        request: message(1..=2).flexible(2).of(&[bytes("hmac"), int64("expiry_time_period_ms")]),
        response: message(1..=2).flexible(2).of(&[
            int16("error_code"),
            int64("expiry_timestamp_ms"),
            int32("throttle_time_ms"),
        ]),
    },
    Api {
        key: 41,
        name: "DescribeDelegationToken",
        request: message(1..=3)
            .flexible(2)
            .of(&[array("owners").nullable().of(&[string("principal_type"), string("principal_name")])]),
        response: message(1..=3).flexible(2).of(&[
            int16("error_code"),
            array("tokens").of(&[
                string("principal_type"),
                string("principal_name"),
                string("token_requester_principal_type").since(3),
                string("token_requester_principal_name").since(3),
                int64("issue_timestamp"),
                int64("expiry_timestamp"),
                int64("max_timestamp"),
                string("token_id"),
                bytes("hmac"),
                array("renewers").of(&[string("principal_type"), string("principal_name")]),
            ]),
            int32("throttle_time_ms"),
        ]),
    },
    Api {
        key: 48,
        name: "DescribeClientQuotas",
        request: message(0..=1).flexible(1).of(&[
            array("components").of(&[string("entity_type"), int8("match_type"), string("match").nullable()]),
            bool("strict"),
        ]),
        response: message(0..=1).flexible(1).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("entries").nullable().of(&[
                array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
                array("values").of(&[string("key"), float64("value")]),
            ]),
        ]),
    },
    Api {
        key: 49,
        name: "AlterClientQuotas",
        request: message(0..=1).flexible(1).of(&[
            array("entries").of(&[
                array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
                array("ops").of(&[string("key"), float64("value"), bool("remove")]),
            ]),
            bool("validate_only"),
        ]),
        response: message(0..=1).flexible(1).of(&[
            int32("throttle_time_ms"),
            array("entries").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
            ]),
        ]),
    },
    Api {
        key: 50,
        name: "DescribeUserScramCredentials",
        request: message(0..=0).flexible(0).of(&[array("users").nullable().of(&[string("name")])]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("results").of(&[
                string("user"),
                int16("error_code"),
                string("error_message").nullable(),
                array("credential_infos").of(&[int8("mechanism"), int32("iterations")]),
            ]),
        ]),
    },
    Api {
        key: 51,
        name: "AlterUserScramCredentials",
        request: message(0..=0).flexible(0).of(&[
            array("deletions").of(&[string("name"), int8("mechanism")]),
            array("upsertions").of(&[
                string("name"),
                int8("mechanism"),
                int32("iterations"),
                bytes("salt"),
                bytes("salted_password"),
            ]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("results").of(&[string("user"), int16("error_code"), string("error_message").nullable()]),
        ]),
    },
];
