//! A WebSocket tunnel: after 101 both sockets are pumped into each other, blindly (RFC 6455).
//!
//! The service's read time-out bounds how long the tunnel may be silent, as in nginx and Kong.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::attempt::Times;
use super::client::Client;
use super::drive_http1::{Busy, Next};
use super::live::Worker;
use super::pump::PumpError;
use crate::http1::write::{self, Encoder};
use crate::message::Framing;
use crate::tls::io::Io;

/// Sends the 101 head and then passes bytes both ways until either side ends, nothing moved for
/// too long, or the process drains.
pub async fn tunnel(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    times: Times,
    mut up: Io,
    head: usize,
) -> Next {
    start(client, busy, head);
    let Busy {
        ex,
        upload,
        download,
        ..
    } = busy;
    let silence = times.read;
    client.slot.set(silence);
    let (mut sent_all, mut got_all) = (false, false);
    poll_fn(|cx| {
        let more = !sent_all && finished(upload.poll(cx, &mut client.io, &mut up));
        sent_all |= more;
        let more = !got_all && finished(download.poll(cx, &mut up, &mut client.io));
        got_all |= more;
        if sent_all || got_all || worker.drain.has_ended() {
            return Poll::Ready(());
        }
        if std::mem::take(&mut upload.moved) | std::mem::take(&mut download.moved) {
            client.slot.set(silence);
        }
        client.slot.poll_expired(cx)
    })
    .await;
    ex.bytes_in += upload.seen;
    ex.bytes_out = download.written;
    ex.body_out = download.seen;
    drop(up);
    Next::Close
}

fn start(client: &mut Client, busy: &mut Busy<'_>, head: usize) {
    let Busy {
        ex,
        upload,
        download,
        ..
    } = busy;
    upload.start(Framing::Close, Encoder::Close);
    upload.feed(&client.carry);
    client.carry.clear();
    download.start(Framing::Close, Encoder::Close);
    let out = &mut download.out;
    out.append(&mut ex.interim);
    let reason = ex.response.reason.of(&ex.response.headers.raw);
    write::status_line(out, 101, reason);
    ex.response.headers.write(out);
    out.extend_from_slice(b"Connection: upgrade\r\n\r\n");
    download.feed(&ex.response.headers.raw[head..]);
}

/// Whether one direction is over, well or not.
fn finished(polled: Poll<Result<(), PumpError>>) -> bool {
    polled.is_ready()
}
