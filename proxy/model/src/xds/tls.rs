//! TLS on both sides as Envoy knows it. Whatever we would not write ourselves is refused: to pass over a field of TLS could let in, or
//! believe, whom it was to keep out.

use std::net::IpAddr;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::parts;
use crate::{FieldError, ListenerTls, ResourceName, TlsVersion, UpstreamTls, bounds};

/// What clients of HTTP may choose by ALPN.
const HTTP: &[&str] = &["h2", "http/1.1"];

/// An Envoy chooses the ALPN of its cluster's protocol by itself. An address is not asked for (RFC 6066), only verified.
pub(super) fn to_upstream(tls: &UpstreamTls) -> UpstreamTlsContext {
    let is_address = tls.server_name.parse::<IpAddr>().is_ok();
    let san_type = if is_address { SanType::IpAddress } else { SanType::Dns };
    let name = SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(tls.server_name.clone())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    let validation = CertificateValidationContext {
        trusted_ca: Some(parts::to_inline(&tls.ca)),
        match_typed_subject_alt_names: vec![name],
        ..CertificateValidationContext::default()
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..CommonTlsContext::default()
        }),
        sni: if is_address {
            String::new()
        } else {
            tls.server_name.clone()
        },
        ..UpstreamTlsContext::default()
    }
}

pub(super) fn from_upstream(xds: &UpstreamTlsContext) -> Result<UpstreamTls, FieldError> {
    const VALIDATION: &str = "common_tls_context.validation_context";
    let common = xds.common_tls_context.as_ref();
    let Some(ValidationContextType::ValidationContext(validation)) =
        common.and_then(|common| common.validation_context_type.as_ref())
    else {
        return Err(parts::missing(VALIDATION, "the CAs and the name to verify by"));
    };
    let path = format!("{VALIDATION}.trusted_ca");
    let ca = bounds::authorities(&path, &parts::from_inline(&path, validation.trusted_ca.as_ref())?)?;
    let path = format!("{VALIDATION}.match_typed_subject_alt_names");
    let [name] = validation.match_typed_subject_alt_names.as_slice() else {
        let count = validation.match_typed_subject_alt_names.len();
        return Err(FieldError::new(path, count, "exactly one name"));
    };
    let Some(MatchPattern::Exact(name)) = name.matcher.as_ref().and_then(|matcher| matcher.match_pattern.as_ref())
    else {
        return Err(parts::missing(&path, "an exact name"));
    };
    let read = UpstreamTls {
        server_name: bounds::server_name(&path, name)?,
        ca,
    };
    // Inline text may come as bytes too.
    let mut written = to_upstream(&read);
    if let Some(ValidationContextType::ValidationContext(ours)) = written
        .common_tls_context
        .as_mut()
        .and_then(|c| c.validation_context_type.as_mut())
    {
        ours.trusted_ca.clone_from(&validation.trusted_ca);
    }
    let accepted = "inline trusted_ca, one exact name of type DNS (then sni too) or IP_ADDRESS, and nothing else";
    only_ours("", written == *xds, accepted)?;
    Ok(read)
}

/// TLS with clients, who choose among `protocols` by ALPN.
pub(super) fn to_downstream(tls: &ListenerTls, http: bool) -> DownstreamTlsContext {
    let minimum = match tls.minimum {
        TlsVersion::Tls12 => TlsProtocol::TlSv12,
        TlsVersion::Tls13 => TlsProtocol::TlSv13,
    };
    let secret = |name: &ResourceName| SdsSecretConfig {
        name: name.as_str().to_owned(),
        sds_config: Some(parts::ads()),
    };
    let protocols = if http { HTTP } else { &[] };
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: minimum.into(),
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: tls.certificates.iter().map(secret).collect(),
            alpn_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    }
}

pub(super) fn from_downstream(xds: &DownstreamTlsContext, http: bool) -> Result<ListenerTls, FieldError> {
    let common = xds.common_tls_context.clone().unwrap_or_default();
    let path = "common_tls_context.tls_certificate_sds_secret_configs";
    let secrets = &common.tls_certificate_sds_secret_configs;
    if !(1..=ListenerTls::MAX).contains(&secrets.len()) {
        let accepted = format!("1 to {} certificates", ListenerTls::MAX);
        return Err(FieldError::new(path, secrets.len(), accepted));
    }
    let mut certificates = Vec::with_capacity(secrets.len());
    for (i, secret) in secrets.iter().enumerate() {
        parts::from_ads(&format!("{path}[{i}].sds_config"), secret.sds_config.as_ref())?;
        let path = format!("{path}[{i}].name");
        let name = ResourceName::parse(&path, &secret.name)?;
        if certificates.contains(&name) {
            return Err(FieldError::new(path, name, "each certificate at most once"));
        }
        certificates.push(name);
    }
    let minimum = common.tls_params.unwrap_or_default().tls_minimum_protocol_version;
    let minimum = match TlsProtocol::try_from(minimum) {
        Ok(TlsProtocol::TlsAuto | TlsProtocol::TlSv12) => TlsVersion::Tls12,
        Ok(TlsProtocol::TlSv13) => TlsVersion::Tls13,
        _ => {
            let path = "common_tls_context.tls_params.tls_minimum_protocol_version";
            return Err(FieldError::new(path, minimum, "TLSv1_2 (3) or TLSv1_3 (4)"));
        }
    };
    let read = ListenerTls { certificates, minimum };
    // What ALPN offers does not change who gets in.
    let (mut written, mut given) = (to_downstream(&read, http), xds.clone());
    for context in [&mut written, &mut given] {
        let common = context.common_tls_context.get_or_insert_default();
        common.alpn_protocols.clear();
        let params = common.tls_params.get_or_insert_default();
        params.tls_minimum_protocol_version = TlsProtocol::TlsAuto.into();
        for secret in &mut common.tls_certificate_sds_secret_configs {
            secret.sds_config = None;
        }
    }
    let accepted =
        "certificates by name from this stream, tls_minimum_protocol_version, alpn_protocols, and nothing else";
    only_ours("", written == given, accepted)?;
    Ok(read)
}

fn only_ours(path: &str, ours: bool, accepted: &str) -> Result<(), FieldError> {
    if ours {
        Ok(())
    } else {
        Err(FieldError::new(path, "(other fields)", accepted))
    }
}
