//! Causally closed sets of records, named by one number per device.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{DeviceId, RecordId};

/// A record named by device and number; the first record has number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The device whose log holds it.
    pub device: DeviceId,
    /// Its number there.
    pub seq: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.seq)
    }
}

/// Text that is not `DEVICE:SEQ`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place in a log (DEVICE:SEQ)")]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let fail = || PlaceError(text.chars().take(90).collect());
        let (device, seq) = text.split_once(':').ok_or_else(fail)?;
        let device = device.parse().map_err(|_| fail())?;
        let seq = seq.parse().map_err(|_| fail())?;
        Ok(Place { device, seq })
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A causally closed set of records: for each device the number of its last record in the set.
///
/// Devices with no record are absent, so equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct View(BTreeMap<DeviceId, u64>);

impl View {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of `device`'s last record in the set, 0 for none.
    pub fn get(&self, device: &DeviceId) -> u64 {
        self.0.get(device).copied().unwrap_or(0)
    }

    /// Adds the record at `place` (and, the set being closed, those before it).
    pub fn add(&mut self, place: Place) {
        if place.seq > 0 {
            let seq = self.0.entry(place.device).or_insert(0);
            *seq = (*seq).max(place.seq);
        }
    }

    /// Whether the record at `place` is in the set.
    pub fn has(&self, place: &Place) -> bool {
        place.seq <= self.get(&place.device)
    }

    /// Whether all of `other` is in this set.
    pub fn covers(&self, other: &View) -> bool {
        other.iter().all(|place| self.has(&place))
    }

    /// The union.
    #[must_use]
    pub fn union(&self, other: &View) -> View {
        let mut out = self.clone();
        other.iter().for_each(|place| out.add(place));
        out
    }

    /// The intersection, which is causally closed too.
    #[must_use]
    pub fn meet(&self, other: &View) -> View {
        let both = self.0.iter().filter_map(|(device, seq)| {
            let seq = (*seq).min(other.get(device));
            (seq > 0).then_some((*device, seq))
        });
        View(both.collect())
    }

    /// The last place of each device, in order of device.
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.0.iter().map(|(device, seq)| Place { device: *device, seq: *seq })
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many records are in the set.
    pub fn len(&self) -> u64 {
        self.0.values().sum()
    }
}

impl FromIterator<Place> for View {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Self {
        let mut out = View::new();
        places.into_iter().for_each(|place| out.add(place));
        out
    }
}

/// A frontier: for each device the number and the id of its last record. Two replicas compare
/// frontiers to learn what each lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Frontier(pub BTreeMap<DeviceId, (u64, RecordId)>);

impl Frontier {
    /// The set of records it names.
    pub fn view(&self) -> View {
        self.0.iter().map(|(device, (seq, _))| Place { device: *device, seq: *seq }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(device: u8, seq: u64) -> Place {
        Place { device: DeviceId([device; 32]), seq }
    }

    #[test]
    fn sets() {
        let a: View = [place(1, 3), place(2, 1)].into_iter().collect();
        let b: View = [place(1, 2), place(3, 4)].into_iter().collect();
        assert!(a.has(&place(1, 2)) && !a.has(&place(3, 1)));
        assert_eq!(a.meet(&b), [place(1, 2)].into_iter().collect());
        assert!(a.union(&b).covers(&a) && a.union(&b).covers(&b));
        assert_eq!(a.union(&b).len(), 8);
        let text = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<View>(&text).unwrap(), a);
    }

    #[test]
    fn places_as_text() {
        let at = place(7, 12);
        assert_eq!(at.to_string().parse::<Place>().unwrap(), at);
        assert!("x:1".parse::<Place>().is_err());
    }
}
