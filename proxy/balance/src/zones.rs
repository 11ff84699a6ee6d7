//! Same zone first. Requests are taken to come from all zones alike: a zone that has at least its part of the capacity serves its own, one that
//! has less serves as much as it can, and the rest goes to the zones that have more than theirs, in proportion. So every endpoint
//! gets the same, and no zone starves. Source: Envoy's zone aware routing, by capacity instead of counts, without its least size.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Rng;
use crate::alias::Alias;
use crate::settings::{Member, Policy};
use crate::tier::Tier;

/// The ready endpoints by zone.
#[derive(Debug)]
pub(crate) struct Zones {
    tiers: Vec<(Arc<str>, Tier)>,
    /// Which zone gets a request of ours.
    share: Alias,
}

impl Zones {
    /// The zones of the endpoints at `ready`; `None` where ours has none, or where one has no zone: nothing to prefer then. What rotates
    /// in a zone goes on where it stood in `before`.
    pub(crate) fn new(
        own: &str,
        members: &[Member],
        ready: &[u32],
        policy: Policy,
        before: Option<(&[Member], &Zones)>,
        rng: &mut Rng,
    ) -> Option<Self> {
        let mut zones: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for &place in ready {
            zones.entry(&members[place as usize].zone).or_default().push(place);
        }
        if zones.contains_key("") || !zones.contains_key(own) || zones.len() < 2 {
            return None;
        }
        let weight = |places: &[u32]| {
            places
                .iter()
                .map(|&p| f64::from(members[p as usize].weight))
                .sum::<f64>()
        };
        let total = weight(ready);
        let even = 1.0 / zones.len() as f64;
        let capacity: Vec<f64> = zones.values().map(|places| weight(places) / total).collect();
        let surplus: f64 = capacity.iter().map(|c| (c - even).max(0.0)).sum();
        let local = |c: f64| (c / even).min(1.0);
        let share: Vec<f64> = zones
            .keys()
            .zip(&capacity)
            .map(|(&zone, &c)| {
                let ours = zones.keys().zip(&capacity).find(|(z, _)| **z == own);
                let away = 1.0 - ours.map_or(0.0, |(_, &c)| local(c));
                if zone == own {
                    local(c)
                } else if surplus > 0.0 {
                    away * (c - even).max(0.0) / surplus
                } else {
                    0.0
                }
            })
            .collect();
        let tiers = zones
            .into_iter()
            .map(|(name, places)| {
                let before = before.and_then(|(old, zones)| Some((old, zones.tier(name)?)));
                (name.into(), Tier::new(members, &places, policy, before, rng))
            })
            .collect();
        Some(Zones {
            tiers,
            share: Alias::new(&share),
        })
    }

    /// The zone of the next request.
    pub(crate) fn draw(&self, rng: &mut Rng) -> &Tier {
        &self.tiers[self.share.draw(rng)].1
    }

    fn tier(&self, zone: &str) -> Option<&Tier> {
        self.tiers
            .iter()
            .find(|(name, _)| **name == *zone)
            .map(|(_, tier)| tier)
    }
}
