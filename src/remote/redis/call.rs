//! One call of a script, what comes back, and how often what came back.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};
use tokio::time::Instant;

use super::open::why;
use super::{Address, Away, Script, Shared};
use crate::telemetry::Counter;

/// A script with what it runs on.
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a [String],
    pub(super) args: &'a [i64],
    pub(super) deadline: Instant,
}

impl Call<'_> {
    /// Sends it by its digest, and in full to a server that does not know it.
    pub(super) async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        asking: bool,
    ) -> Result<Answer, Away> {
        let mut value = send(connection, self, "EVALSHA", asking).await;
        if server_error(&value) == Some(ServerErrorKind::NoScript) {
            value = send(connection, self, "EVAL", asking).await;
        }
        answer(value)
    }
}

/// What a server says to a call.
pub(super) enum Answer {
    /// What the script answered.
    Numbers(Vec<i64>),
    /// Another server has the key.
    Elsewhere {
        /// The slot of the key.
        slot: u16,
        /// `host:port`; the host may be empty: this server's own.
        to: String,
        /// Only for this call, and it wants to be told.
        asking: bool,
    },
}

/// Counters by outcome.
pub(super) struct Results {
    pub(super) ok: Counter,
    pub(super) failed: [(&'static str, Counter); 6],
}

impl Results {
    pub(super) fn new(address: &Address, shared: &Shared) -> Results {
        let redis = address.to_string();
        let counter = |result| {
            let help = "Calls to Redis for shared counters, by server and result.";
            let labels = [("redis", redis.as_str()), ("result", result)];
            let name = "sluicegate_ratelimit_redis_calls_total";
            shared.metrics.counter(name, help, &labels)
        };
        let failed = ["open", "timeout", "connect", "closed", "error", "garbage"];
        Results {
            ok: counter("ok"),
            failed: failed.map(|result| (result, counter(result))),
        }
    }
}

async fn send(
    connection: &mut MultiplexedConnection,
    call: &Call<'_>,
    name: &str,
    asking: bool,
) -> RedisResult<Value> {
    let command = call.script.call(name, call.keys, call.args);
    if !asking {
        return connection.send_packed_command(&command).await;
    }
    // Nothing may come between the two.
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command);
    let mut values = connection.send_packed_commands(&both, 0, 2).await?;
    Ok(values.pop().unwrap_or(Value::Nil))
}

fn server_error(value: &RedisResult<Value>) -> Option<ServerErrorKind> {
    match value {
        Ok(Value::ServerError(error)) => error.kind(),
        Err(error) => match error.kind() {
            ErrorKind::Server(kind) => Some(kind),
            _ => None,
        },
        Ok(_) => None,
    }
}

/// Reads what came back from a script.
fn answer(value: RedisResult<Value>) -> Result<Answer, Away> {
    let error = match value {
        Ok(Value::ServerError(error)) => redis::RedisError::from(error),
        Ok(value) => return numbers(value).map(Answer::Numbers),
        Err(error) => error,
    };
    match error.redirect_node() {
        Some((to, slot)) => Ok(Answer::Elsewhere {
            slot,
            to: to.to_owned(),
            asking: error.kind() == ErrorKind::Server(ServerErrorKind::Ask),
        }),
        None => Err(why(&error)),
    }
}

fn numbers(value: Value) -> Result<Vec<i64>, Away> {
    let garbage = || Away::Garbage("whole numbers were expected".to_owned());
    let Value::Array(values) = value else {
        return Err(garbage());
    };
    let number = |value: &Value| match value {
        Value::Int(number) => Ok(*number),
        _ => Err(garbage()),
    };
    values.iter().map(number).collect()
}
