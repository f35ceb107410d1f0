//! The kernel's part: an eventfd that a shard waits for in its ring.

use loom::sync::{Arc, Condvar, Mutex};

/// Stays rung until the shard has noticed.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// Rings.
    pub fn wake(&self) {
        let (rung, condition) = &*self.0;
        *rung.lock().expect("a panic ends the model") = true;
        condition.notify_one();
    }

    /// Waits until it is rung, for ever if it is not.
    pub fn wait(&self) {
        let (rung, condition) = &*self.0;
        let mut rung = rung.lock().expect("a panic ends the model");
        while !*rung {
            rung = condition.wait(rung).expect("a panic ends the model");
        }
        *rung = false;
    }
}
