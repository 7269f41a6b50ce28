package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OpenArchive opens an archive: a regular file, or a pipe, whose reading ends with the context. file is nil for a pipe.
func OpenArchive(ctx context.Context, name string) (file *os.File, in io.ReadCloser, err error) {
	// The opening of a named pipe would wait for its writer.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.Mode().IsRegular():
		return f, f, nil
	case info.Mode()&os.ModeNamedPipe != 0:
		if err = unix.SetNonblock(int(f.Fd()), false); err == nil {
			return nil, cancellable(ctx, writtenPipe{f}, f.Close), nil
		}
	default:
		err = fmt.Errorf("open %s: it is neither a regular file nor a pipe", name)
	}
	return nil, nil, errors.Join(err, f.Close())
}

// writtenPipe is a named pipe that was opened without waiting for its writer. Until there is one it would be at its end.
type writtenPipe struct{ file *os.File }

func (p writtenPipe) Read(b []byte) (int, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(p.file.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if err == nil {
			return p.file.Read(b)
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("wait for the writer of a pipe: %w", err)
		}
	}
}

// cancellable is a reader that does not wait any longer when a context ends; done is called at the end of in. The wait itself goes on in the background
// then, for as long as the program lives.
func cancellable(ctx context.Context, in io.Reader, done func() error) io.ReadCloser {
	out, writer := io.Pipe()
	go func() {
		_, err := io.Copy(writer, in)
		writer.CloseWithError(errors.Join(err, done()))
	}()
	stop := context.AfterFunc(ctx, func() { writer.CloseWithError(context.Cause(ctx)) })
	return cancelled{out, stop}
}

// cancelled is the end of it that is read.
type cancelled struct {
	*io.PipeReader
	stop func() bool
}

func (c cancelled) Close() error {
	c.stop()
	return c.PipeReader.Close()
}
