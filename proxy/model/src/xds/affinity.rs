//! [`Affinity`] as a part of the JSON that `balancing` writes. Both conversions side by side; nothing here knows protobuf.

use serde::{Deserialize, Serialize};

use super::parts;
use crate::{Affinity, FieldError, HashKey, HashTable, OnDead, OnDrain, ResourceName, SameSite, SessionCookie, bounds};

/// An affinity as it is written: `key` says which of the others count.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Wire {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v4: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v6: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_site: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    http_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_drain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_dead: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
}

impl Wire {
    pub(super) fn of(affinity: &Affinity) -> Self {
        match affinity {
            Affinity::Hash { key, table, bound } => Wire {
                table: Some(name_of(TABLES, *table)),
                bound: bound.map(u64::from),
                ..Wire::of_key(key)
            },
            Affinity::Cookie(cookie) => Wire::of_cookie(cookie),
        }
    }

    fn of_key(key: &HashKey) -> Self {
        let (key, name, lengths) = match key {
            HashKey::SourceIp { v4, v6 } => ("source_ip", None, Some((*v4, *v6))),
            HashKey::Header(name) => ("header", Some(name), None),
            HashKey::QueryParam(name) => ("query_param", Some(name), None),
            HashKey::Path => ("path", None, None),
            HashKey::Cookie(name) => ("app_cookie", Some(name), None),
        };
        Wire {
            key: key.to_owned(),
            name: name.cloned(),
            v4: lengths.map(|(v4, _)| v4.into()),
            v6: lengths.map(|(_, v6)| v6.into()),
            ..Wire::default()
        }
    }

    fn of_cookie(cookie: &SessionCookie) -> Self {
        Wire {
            key: "cookie".to_owned(),
            name: Some(cookie.name.clone()),
            path: Some(cookie.path.clone()),
            ttl: cookie.ttl.map(parts::to_text),
            same_site: Some(name_of(SITES, cookie.same_site)),
            secure: cookie.secure,
            http_only: cookie.http_only,
            on_drain: Some(name_of(DRAINS, cookie.on_drain)),
            on_dead: Some(name_of(DEADS, cookie.on_dead)),
            keys: Some(cookie.keys.as_str().to_owned()),
            ..Wire::default()
        }
    }

    pub(super) fn judge(&self) -> Result<Affinity, FieldError> {
        let name = self.name.as_deref().unwrap_or_default();
        let key = match self.key.as_str() {
            "source_ip" => HashKey::SourceIp {
                v4: bounds::prefix_length("v4", self.v4.unwrap_or(32), 32)?,
                v6: bounds::prefix_length("v6", self.v6.unwrap_or(128), 128)?,
            },
            "header" => HashKey::Header(bounds::header("name", name)?),
            "query_param" => HashKey::QueryParam(bounds::query_param("name", name)?),
            "path" => HashKey::Path,
            "app_cookie" => HashKey::Cookie(bounds::cookie("name", name)?),
            "cookie" => return Ok(Affinity::Cookie(self.cookie(name)?)),
            other => {
                let accepted = "source_ip, header, query_param, path, app_cookie or cookie";
                return Err(FieldError::new("key", other, accepted));
            }
        };
        Ok(Affinity::Hash {
            key,
            table: by_name("table", TABLES, self.table.as_deref())?,
            bound: self.bound.map(|n| bounds::load_bound("bound", n)).transpose()?,
        })
    }

    fn cookie(&self, name: &str) -> Result<SessionCookie, FieldError> {
        let ttl = |text: &String| bounds::ttl("ttl", parts::from_text("ttl", text)?);
        Ok(SessionCookie {
            name: bounds::cookie("name", name)?,
            path: bounds::cookie_path("path", self.path.as_deref().unwrap_or("/"))?,
            ttl: self.ttl.as_ref().map(ttl).transpose()?,
            same_site: by_name("same_site", SITES, self.same_site.as_deref())?,
            secure: self.secure,
            http_only: self.http_only,
            on_drain: by_name("on_drain", DRAINS, self.on_drain.as_deref())?,
            on_dead: by_name("on_dead", DEADS, self.on_dead.as_deref())?,
            keys: ResourceName::parse("keys", self.keys.as_deref().unwrap_or_default())?,
        })
    }
}

type Names<T> = &'static [(&'static str, T)];

const TABLES: Names<HashTable> = &[("ring", HashTable::Ring), ("maglev", HashTable::Maglev)];
const SITES: Names<SameSite> = &[
    ("lax", SameSite::Lax),
    ("strict", SameSite::Strict),
    ("none", SameSite::None),
];
const DRAINS: Names<OnDrain> = &[("keep", OnDrain::Keep), ("move", OnDrain::Move)];
const DEADS: Names<OnDead> = &[("rebalance", OnDead::Rebalance), ("fail", OnDead::Fail)];

/// Every value stands in its table.
fn name_of<T: Copy + PartialEq>(names: Names<T>, value: T) -> String {
    let found = names.iter().find(|(_, one)| *one == value);
    found.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}

/// The value of that name; the default where there is none.
fn by_name<T: Copy + Default>(path: &str, names: Names<T>, name: Option<&str>) -> Result<T, FieldError> {
    let Some(name) = name else { return Ok(T::default()) };
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        FieldError::new(path, name, known.join(" or "))
    })
}
