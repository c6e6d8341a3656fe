//! Panics that nobody asked for. The Keeper and the consumers catch them and go on, as they must; here
//! they are found and reported all the same.

use shers_contract::laws::Breach;
use std::cell::RefCell;

thread_local! {
    static FOUND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the Keeper says when it is asked to kill.
const ASKED_FOR: &str = "crash asked for";

/// Notes panics of this process instead of printing them.
pub fn watch() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains(ASKED_FOR) {
            FOUND.with(|found| found.borrow_mut().push(text));
        }
    }));
}

/// The panics of this thread since the last look.
pub(crate) fn take() -> Vec<Breach> {
    let found = FOUND.with(|found| std::mem::take(&mut *found.borrow_mut()));
    found.into_iter().map(|detail| Breach { law: "no-panic", subject: "the house".to_owned(), detail }).collect()
}
