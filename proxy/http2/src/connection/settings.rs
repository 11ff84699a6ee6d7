//! Settings, ours and the peer's: what they do to windows and limits (RFC 9113 §6.5).

use super::streams::Half;
use super::windows::released;
use super::{Connection, Event, MAX_WINDOW, Phase, Role};
use crate::frame::{self, Settings};
use crate::{Error, Reason};

/// The window of streams, and of connections, that nobody has said anything of.
pub(super) const INITIAL_WINDOW: u32 = 65_535;

/// What the peer said of itself.
#[derive(Debug)]
pub(super) struct Peer {
    /// Streams that it takes at a time.
    pub(super) max_streams: u32,
    /// The window of a stream that begins, in bytes.
    pub(super) window: u32,
    /// Extended CONNECT.
    pub(super) connect_protocol: bool,
}

impl Connection {
    /// What is said first.
    pub(super) fn put_settings(&mut self) {
        let is_server = self.role == Role::Server;
        let settings = Settings {
            enable_push: (!is_server).then_some(false),
            max_concurrent_streams: is_server.then_some(self.config.max_streams),
            initial_window_size: Some(self.config.stream_window),
            max_header_list_size: Some(self.config.header_list),
            enable_connect_protocol: (is_server && self.config.connect_protocol).then_some(true),
            ..Settings::default()
        };
        let out = &mut self.output.joined;
        frame::put_settings(out, &settings);
        let more = self.config.connection_window - INITIAL_WINDOW;
        if more > 0 {
            frame::put_window_update(out, 0, more);
        }
    }

    pub(super) fn settings(&mut self, is_ack: bool, settings: Settings) -> Result<Option<Event>, Error> {
        if is_ack {
            self.acknowledged();
            return Ok(None);
        }
        if self.role == Role::Client && settings.enable_push == Some(true) {
            let what = "SETTINGS_ENABLE_PUSH of a server: 0 is accepted";
            return Err(Error::new(Reason::PROTOCOL_ERROR, what));
        }
        let is_first = self.phase == Phase::Settings;
        self.phase = Phase::Open;
        if let Some(most) = settings.max_concurrent_streams.or(is_first.then_some(u32::MAX)) {
            self.peer.max_streams = most;
        }
        if let Some(takes) = settings.enable_connect_protocol {
            self.peer.connect_protocol = takes;
        }
        if let Some(window) = settings.initial_window_size {
            self.peer_window(window)?;
        }
        frame::put_settings_ack(&mut self.output.joined);
        self.answered(frame::HEAD)?;
        Ok(Some(Event::Settings))
    }

    /// The peer gives each stream another window, also those that are open.
    fn peer_window(&mut self, window: u32) -> Result<(), Error> {
        let grows = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        if grows == 0 {
            return Ok(());
        }
        let mut is_news = false;
        for stream in self.streams.iter_mut() {
            stream.send_window += grows;
            if stream.send_window > MAX_WINDOW {
                let what = "SETTINGS_INITIAL_WINDOW_SIZE makes a window of more than 2^31 - 1 bytes";
                return Err(Error::new(Reason::FLOW_CONTROL_ERROR, what));
            }
            if stream.is_blocked && stream.send_window > 0 {
                stream.is_blocked = false;
                is_news = true;
            }
        }
        if is_news {
            self.events.push_back(Event::Window { stream: None });
        }
        Ok(())
    }

    /// From here on the peer holds to our settings: to a smaller window than it could use until now. What was released of the larger one is
    /// much of the smaller one: the peer is told, since it may have nothing left to send that would be released later.
    fn acknowledged(&mut self) {
        let window = self.config.stream_window;
        let less = i64::from(self.own_window) - i64::from(window);
        self.own_window = window;
        if less <= 0 {
            return;
        }
        for stream in self.streams.iter_mut() {
            stream.receive_window -= less;
            if stream.receiving != Half::Done {
                let increment = released(&mut stream.released, 0, &mut stream.receive_window, window);
                if increment > 0 {
                    frame::put_window_update(&mut self.output.joined, stream.id, increment);
                }
            }
        }
    }
}
