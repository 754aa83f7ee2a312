//! The fold of membership as stored between commands.

use aios_core::frontier::Place;
use aios_core::id::DeviceId;
use aios_core::member::{Member, Members};
use serde::{Deserialize, Serialize};

use crate::error::Error;

#[derive(Serialize, Deserialize)]
struct Row {
    device: DeviceId,
    name: String,
    roles: Vec<String>,
    operator: Option<DeviceId>,
    administers: bool,
    added: Place,
    time: u64,
}

/// Reads the stored form.
pub fn read(text: &[u8]) -> Result<Members, Error> {
    let rows: Vec<Row> = serde_json::from_slice(text).map_err(|e| Error::Damaged(format!("members: {e}")))?;
    let members = rows.into_iter().map(|row| {
        let Row { device, name, roles, operator, administers, added, time } = row;
        (device, Member { name, roles, operator, administers, added, time })
    });
    Ok(Members(members.collect()))
}

/// The stored form.
pub fn write(members: &Members) -> Result<Vec<u8>, Error> {
    let rows: Vec<Row> = members
        .0
        .iter()
        .map(|(device, member)| {
            let Member { name, roles, operator, administers, added, time } = member.clone();
            Row { device: *device, name, roles, operator, administers, added, time }
        })
        .collect();
    serde_json::to_vec(&rows).map_err(|e| Error::Damaged(format!("members: {e}")))
}
