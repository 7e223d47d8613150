//! The allocation budget of a plain proxied keep-alive request.
//!
//! A counting allocator stands around one worker's thread. After some warm-up, requests over one
//! client connection are driven through [`sluicegate::gateway::drive_http1::serve`] to an upstream
//! on loopback. The upstream has its own threads; only this thread is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[path = "../benches/common.rs"]
mod common;

use common::Client;

/// Counts what the current thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor
// has a destructor, so it may be used here.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

fn counted() -> u64 {
    COUNT.with(Cell::get)
}

const REQUEST: &[u8] = b"GET /api/users/42?page=3 HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    User-Agent: budget/1.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, br\r\n\
    Cookie: session=0123456789abcdef\r\n\
    X-Trace: 4bf92f3577b34da6a3ce929d0e0e4736\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 13\r\n\
    Cache-Control: no-store\r\n\
    Server: upstream\r\n\
    Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n\
    {\"ok\":\"true\"}";

const WARM_UP: usize = 200;
const REQUESTS: u64 = 500;

/// Allocations per request on this thread, times [`REQUESTS`].
fn allocations(config: &str, request: &[u8]) -> u64 {
    common::run(async {
        let mut client = Client::new(common::worker(config));
        for _ in 0..WARM_UP {
            client.exchange(request, b"{\"ok\":\"true\"}").await;
        }
        let before = counted();
        for _ in 0..REQUESTS {
            client.exchange(request, b"{\"ok\":\"true\"}").await;
        }
        counted() - before
    })
}

fn config(plugins: &str) -> String {
    let address = common::upstream(ANSWER);
    format!(
        "services:\n- name: s\n  url: http://{address}/base\n  routes:\n  \
         - name: r\n    paths: [/api]\n    methods: [GET]\n{plugins}"
    )
}

#[test]
fn a_plain_proxied_request_allocates_nothing() {
    let made = allocations(&config(""), REQUEST);
    assert_eq!(made, 0, "{made} allocations in {REQUESTS} requests");
}
