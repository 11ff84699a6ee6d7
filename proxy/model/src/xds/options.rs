//! What of a [`Listener`] an Envoy does not know, as one JSON text in our metadata: the header `Forwarded`, who served, access log,
//! tracing. None where all has its default. Nothing here knows protobuf.

use serde::{Deserialize, Serialize};

use crate::{AccessLog, AccessLogFormat, FieldError, Listener, Tracing, bounds};

/// The field of our metadata.
pub(super) const FIELD: &str = "listener";

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Wire {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forwarded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    served_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<AccessLogWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingWire>,
}

#[derive(Deserialize, Serialize)]
struct AccessLogWire {
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_in: Option<u64>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct TracingWire {
    collector: String,
    sampled: u64,
    service: String,
}

const FORMATS: &[(&str, AccessLogFormat)] = &[
    ("off", AccessLogFormat::Off),
    ("text", AccessLogFormat::Text),
    ("json", AccessLogFormat::Json),
];

impl Wire {
    /// None where all has its default.
    pub(super) fn of(listener: &Listener) -> Option<Self> {
        let wire = Wire {
            forwarded: listener.forwarded,
            served_by: listener.served_by.clone(),
            access_log: (listener.access_log != AccessLog::default()).then(|| AccessLogWire::of(listener.access_log)),
            tracing: listener.tracing.as_ref().map(TracingWire::of),
        };
        let said = wire.forwarded || wire.served_by.is_some() || wire.access_log.is_some() || wire.tracing.is_some();
        said.then_some(wire)
    }

    /// Puts what is said here into `listener`.
    pub(super) fn judge(&self, listener: &mut Listener) -> Result<(), FieldError> {
        listener.forwarded = self.forwarded;
        let served_by = |name: &String| bounds::served_by("served_by", name);
        listener.served_by = self.served_by.as_ref().map(served_by).transpose()?;
        let access_log = self.access_log.as_ref().map(AccessLogWire::judge).transpose();
        listener.access_log = access_log.map_err(|e| e.within("access_log"))?.unwrap_or_default();
        let tracing = self.tracing.as_ref().map(TracingWire::judge).transpose();
        listener.tracing = tracing.map_err(|e| e.within("tracing"))?;
        Ok(())
    }
}

impl AccessLogWire {
    fn of(log: AccessLog) -> Self {
        let name = FORMATS.iter().find(|(_, format)| *format == log.format);
        AccessLogWire {
            format: name.map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
            one_in: Some(log.one_in.into()),
        }
    }

    fn judge(&self) -> Result<AccessLog, FieldError> {
        let format = FORMATS.iter().find(|(name, _)| *name == self.format);
        let format = format.map(|(_, format)| *format);
        Ok(AccessLog {
            format: format.ok_or_else(|| FieldError::new("format", &self.format, "off, text or json"))?,
            one_in: bounds::one_in("one_in", self.one_in.unwrap_or(1))?,
        })
    }
}

impl TracingWire {
    fn of(tracing: &Tracing) -> Self {
        TracingWire {
            collector: tracing.collector.clone(),
            sampled: tracing.sampled.into(),
            service: tracing.service.clone(),
        }
    }

    fn judge(&self) -> Result<Tracing, FieldError> {
        Ok(Tracing {
            collector: bounds::collector("collector", &self.collector)?,
            sampled: bounds::sampled("sampled", self.sampled)?,
            service: bounds::service("service", &self.service)?,
        })
    }
}
