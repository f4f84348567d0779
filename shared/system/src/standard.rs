//! Standard input and output as connections. Tokio reads and writes them in threads of their own, and panics where the
//! system refuses these; here they are waited for like sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::stat::fstat;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::files::kind_of;

/// The input that a process was started with: a pipe or a socket.
#[derive(Debug)]
pub enum Input {
    /// A pipe.
    Pipe(Receiver),
    /// A socket.
    Socket(UnixStream),
}

/// The output that a process was started with: a pipe or a socket.
#[derive(Debug)]
pub enum Output {
    /// A pipe.
    Pipe(Sender),
    /// A socket.
    Socket(UnixStream),
}

impl Input {
    /// Takes over an open file: nothing else may read it from now on. Must be called in a runtime.
    ///
    /// # Errors
    /// When it is neither a pipe nor a socket; when the system refuses.
    pub fn of(file: impl AsFd) -> io::Result<Input> {
        Ok(match take(file)? {
            (file, true) => Input::Socket(socket(file)?),
            (file, false) => Input::Pipe(Receiver::from_owned_fd(file)?),
        })
    }
}

impl Output {
    /// Takes over an open file: nothing else may write it from now on. Must be called in a runtime.
    ///
    /// # Errors
    /// When it is neither a pipe nor a socket; when the system refuses.
    pub fn of(file: impl AsFd) -> io::Result<Output> {
        Ok(match take(file)? {
            (file, true) => Output::Socket(socket(file)?),
            (file, false) => Output::Pipe(Sender::from_owned_fd(file)?),
        })
    }
}

/// A file of our own for the same stream, and whether it is a socket.
fn take(file: impl AsFd) -> io::Result<(OwnedFd, bool)> {
    let file = file.as_fd().try_clone_to_owned()?;
    let is_socket = kind_of(fstat(&file)?.st_mode) == "a socket";
    Ok((file, is_socket))
}

fn socket(file: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(file);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Input::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Input::Socket(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Output::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Output::Socket(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Output::Pipe(pipe) => Pin::new(pipe).poll_flush(context),
            Output::Socket(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Output::Pipe(pipe) => Pin::new(pipe).poll_shutdown(context),
            Output::Socket(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn passes_through(from: impl AsFd, to: impl AsFd) {
        let mut input = Input::of(&from).expect("an input");
        let mut output = Output::of(&to).expect("an output");
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
        Input::of(File::open("/proc/self/exe").expect("a file"))
            .expect_err("it is neither a pipe nor a socket");
    }
}
