//! What devices say of themselves: of each what it said last.

use aios_core::id::DeviceId;

use super::{Order, Tables};
use crate::needs::Offer;

impl Tables {
    /// Takes in what a device says of itself.
    pub(super) fn offer(&mut self, order: Order, offer: Offer) {
        let last = self.offers.entry(order.0.2).or_insert_with(|| (order, offer.clone()));
        if last.0 < order {
            *last = (order, offer);
        }
    }

    /// What a device says of itself.
    pub fn offered(&self, device: &DeviceId) -> Option<&Offer> {
        self.offers.get(device).map(|(_, offer)| offer)
    }

    /// All devices that said something of themselves.
    pub fn offers(&self) -> impl Iterator<Item = (&DeviceId, &Offer)> {
        self.offers.iter().map(|(device, (_, offer))| (device, offer))
    }
}
