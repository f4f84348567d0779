//! Standard input and output as connections.
//!
//! Tokio reads and writes standard streams in separate threads, and panics if the system refuses a thread.
//! Here they are polled like sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::stat::fstat;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::files::kind_of_stat;

/// Standard input of this process.
#[derive(Debug)]
pub enum StandardInput {
    Pipe(Receiver),
    Socket(UnixStream),
}

/// Standard output of this process.
#[derive(Debug)]
pub enum StandardOutput {
    Pipe(Sender),
    Socket(UnixStream),
}

impl StandardInput {
    /// Takes over an open file, which nothing else may read from now on. Must be called in a runtime.
    ///
    /// # Errors
    /// If it is neither a pipe nor a socket, or if the system refuses.
    pub fn of(file: impl AsFd) -> io::Result<StandardInput> {
        Ok(match take(file)? {
            (file, true) => StandardInput::Socket(socket(file)?),
            (file, false) => StandardInput::Pipe(Receiver::from_owned_fd(file)?),
        })
    }
}

impl StandardOutput {
    /// Takes over an open file, which nothing else may write from now on. Must be called in a runtime.
    ///
    /// # Errors
    /// If it is neither a pipe nor a socket, or if the system refuses.
    pub fn of(file: impl AsFd) -> io::Result<StandardOutput> {
        Ok(match take(file)? {
            (file, true) => StandardOutput::Socket(socket(file)?),
            (file, false) => StandardOutput::Pipe(Sender::from_owned_fd(file)?),
        })
    }
}

/// Duplicates the file for the same stream. Returns it, and whether it is a socket.
fn take(file: impl AsFd) -> io::Result<(OwnedFd, bool)> {
    let file = file.as_fd().try_clone_to_owned()?;
    let is_socket = kind_of_stat(&fstat(&file)?) == "a socket";
    Ok((file, is_socket))
}

fn socket(file: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(file);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

impl AsyncRead for StandardInput {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StandardInput::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
            StandardInput::Socket(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for StandardOutput {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            StandardOutput::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
            StandardOutput::Socket(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StandardOutput::Pipe(pipe) => Pin::new(pipe).poll_flush(context),
            StandardOutput::Socket(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StandardOutput::Pipe(pipe) => Pin::new(pipe).poll_shutdown(context),
            StandardOutput::Socket(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn passes_through(from: impl AsFd, to: impl AsFd) {
        let mut input = StandardInput::of(&from).expect("an input");
        let mut output = StandardOutput::of(&to).expect("an output");
        drop((from, to));
        let sent: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
        let mut received = Vec::new();
        let send = async {
            output.write_all(&sent).await.expect("written");
            drop(output);
        };
        let (count, ()) = tokio::join!(input.read_to_end(&mut received), send);
        assert_eq!((count.expect("read"), received), (sent.len(), sent));
    }

    #[tokio::test]
    async fn more_than_a_pipe_or_a_socket_holds_passes_through_it() {
        let (from, to) = nix::unistd::pipe().expect("a pipe");
        passes_through(from, to).await;
        let (from, to) = std::os::unix::net::UnixStream::pair().expect("sockets");
        passes_through(from, to).await;
    }

    #[tokio::test]
    async fn a_file_is_refused() {
        StandardInput::of(File::open("/proc/self/exe").expect("a file"))
            .expect_err("it is neither a pipe nor a socket");
    }
}
