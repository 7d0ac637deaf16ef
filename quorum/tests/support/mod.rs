//! The application of the tests.

use jackdaw_quorum::{At, Command, Machine, Reply};

/// Commands, one after the other.
#[derive(Default)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Machine for Words {
    fn apply(&mut self, _: At, command: Command) -> Reply {
        self.0.push(command.0);
        Reply(self.0.len().to_string())
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let words = self.0.clone();
        Box::new(move || words.join("\n").into_bytes())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(snapshot).map_err(|error| error.to_string())?;
        self.0 = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}
