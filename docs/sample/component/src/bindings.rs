//! The world `agent` of `wit/agent.wit`, by hand: how texts go in and out of a component. `wit-bindgen` writes the same; without it this
//! builds with any Rust, and needs nothing.

use std::alloc::{alloc, dealloc, realloc, Layout};

/// Where an imported function puts `result<string, string>`: which of the two, where the text lies, how long it is.
#[repr(C)]
pub struct Text {
    failed: u8,
    at: *mut u8,
    length: usize,
}

#[link(wasm_import_module = "aios:agent/tools@0.1.0")]
extern "C" {
    #[link_name = "read"]
    fn import_read(path: *const u8, path_length: usize, line: u32, out: *mut Text);
    #[link_name = "search"]
    fn import_search(
        files: *const u8,
        files_length: usize,
        text: *const u8,
        text_length: usize,
        out: *mut Text,
    );
}

/// The text of a file from a line on.
pub fn read(path: &str, line: u32) -> Result<String, String> {
    taken(|out| unsafe { import_read(path.as_ptr(), path.len(), line, out) })
}

/// The paths of files, a line each.
pub fn search(files: &str, text: &str) -> Result<String, String> {
    taken(|out| unsafe { import_search(files.as_ptr(), files.len(), text.as_ptr(), text.len(), out) })
}

/// What a call gave. Its text was put into memory that `cabi_realloc` gave, so it is a `String`'s.
fn taken(call: impl FnOnce(*mut Text)) -> Result<String, String> {
    let mut out = Text { failed: 0, at: std::ptr::null_mut(), length: 0 };
    call(&mut out);
    let text = match out.length {
        0 => String::new(),
        length => unsafe { String::from_raw_parts(out.at, length, length) },
    };
    match out.failed {
        0 => Ok(text),
        _ => Err(text),
    }
}

/// `work` of the world.
///
/// # Safety
/// Called by the engine alone, with a text that it put into memory which [`cabi_realloc`] gave.
#[export_name = "work"]
pub unsafe extern "C" fn export_work(at: *mut u8, length: usize) -> *mut Text {
    let input = match length {
        0 => String::new(),
        length => String::from_raw_parts(at, length, length),
    };
    let (failed, text) = match crate::work(&input) {
        Ok(text) => (0, text),
        Err(why) => (1, why),
    };
    let text = text.into_bytes().into_boxed_slice();
    let length = text.len();
    let at = Box::into_raw(text) as *mut u8;
    Box::into_raw(Box::new(Text { failed, at, length }))
}

/// Gives back what `work` gave, once it was taken.
///
/// # Safety
/// Called by the engine alone, with what [`export_work`] gave.
#[export_name = "cabi_post_work"]
pub unsafe extern "C" fn post_work(gave: *mut Text) {
    let gave = Box::from_raw(gave);
    drop(Box::from_raw(std::slice::from_raw_parts_mut(gave.at, gave.length)));
}

/// Memory for what is put into this component.
///
/// # Safety
/// Called by the engine alone.
#[export_name = "cabi_realloc"]
pub unsafe extern "C" fn cabi_realloc(old: *mut u8, had: usize, align: usize, wants: usize) -> *mut u8 {
    let layout = |size| Layout::from_size_align_unchecked(size, align);
    match (had, wants) {
        (0, 0) => align as *mut u8,
        (0, wants) => alloc(layout(wants)),
        (had, 0) => {
            dealloc(old, layout(had));
            align as *mut u8
        }
        (had, wants) => realloc(old, layout(had), wants),
    }
}
