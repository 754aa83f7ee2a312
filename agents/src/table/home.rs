//! Where effects happen: for each capability one device at a time, from the one that made the vault on (I10).
//!
//! A home is moved by the device that has it, so the moves of one capability follow each other: whoever has it now has seen all
//! that was done with it before. Only the operator's word takes it from a device that says nothing any more.

use std::collections::BTreeMap;

use aios_core::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::Order;
use crate::event::WorkEvent;
use crate::span::Millis;

/// What changes homes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    Moved {
        capability: String,
        to: DeviceId,
    },
    Taken {
        capability: String,
        to: DeviceId,
        turn: u32,
    },
    /// A device goes on under another key.
    Rotated {
        to: DeviceId,
    },
}

/// Where effects happen, and happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homes {
    /// Where they happen first; none: where their tasks are worked on.
    first: Option<DeviceId>,
    changes: BTreeMap<Order, Change>,
}

impl Homes {
    /// With everything on one device to begin with.
    pub fn on(first: Option<DeviceId>) -> Homes {
        Homes { first, changes: BTreeMap::new() }
    }

    /// The device where effects of a capability happened at a place in the order.
    pub fn at(&self, capability: &str, order: &Order) -> Option<DeviceId> {
        Some(self.until(capability, Some(order))?.0)
    }

    /// The device where they happen now.
    pub fn now(&self, capability: &str) -> Option<DeviceId> {
        Some(self.until(capability, None)?.0)
    }

    /// How often it was moved or taken.
    pub fn turn(&self, capability: &str) -> u32 {
        self.until(capability, None).map_or(0, |(_, turn)| turn)
    }

    /// When the operator last had a device take it, if that was so.
    pub fn taken(&self, name: &str) -> Option<Millis> {
        let taken = self
            .changes
            .iter()
            .rev()
            .find(|(_, change)| matches!(change, Change::Taken { capability, .. } if capability == name));
        taken.map(|(order, _)| order.time())
    }

    fn until(&self, name: &str, end: Option<&Order>) -> Option<(DeviceId, u32)> {
        let (mut home, mut turn) = (self.first?, 0);
        let before = self.changes.iter().take_while(|(order, _)| end.is_none_or(|end| *order <= end));
        for (order, change) in before {
            match change {
                // Nobody gives away what is not his.
                Change::Moved { capability, to } if capability == name && order.0.2 == home => {
                    (home, turn) = (*to, turn + 1);
                }
                Change::Taken { capability, to, turn: at } if capability == name && *at == turn => {
                    (home, turn) = (*to, turn + 1);
                }
                Change::Rotated { to } if order.0.2 == home => home = *to,
                _ => {}
            }
        }
        Some((home, turn))
    }

    /// Takes in an event, and says whether it changes anything.
    pub(super) fn insert(&mut self, order: Order, event: &WorkEvent) -> bool {
        let change = match event {
            WorkEvent::HomeMoved { capability, to } => {
                Change::Moved { capability: capability.clone(), to: *to }
            }
            WorkEvent::HomeTaken { capability, to, turn, .. } => {
                Change::Taken { capability: capability.clone(), to: *to, turn: *turn }
            }
            _ => return false,
        };
        self.changes.insert(order, change).is_none()
    }

    /// The author of a record goes on as `to`.
    pub(super) fn rotate(&mut self, order: Order, to: DeviceId) -> bool {
        self.changes.insert(order, Change::Rotated { to }).is_none()
    }
}
