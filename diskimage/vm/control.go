// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// controlFD is the descriptor of QMP in QEMU, the first one after the standard streams.
const controlFD = 3

// controlArgs are QEMU's arguments for QMP on controlFD.
func controlArgs() []string {
	return []string{"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD), "-mon", "chardev=control,mode=control"}
}

// control is a connection to QEMU's machine protocol, QMP (docs/interop/qmp-spec.txt of QEMU).
type control struct {
	conn    net.Conn
	replies chan reply    // to commands of execute
	closed  chan struct{} // when QEMU has closed the connection
}

// reply is the reply to a command; Error is nil if it succeeded.
type reply struct {
	Error *struct{ Desc string }
}

// newControl returns our end of a connection, and the one that QEMU inherits.
func newControl() (ours *control, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "QMP")
	theirs = os.NewFile(uintptr(fds[1]), "QMP of QEMU")
	conn, err := net.FileConn(f)
	_ = f.Close() // FileConn has a duplicate
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return &control{conn, make(chan reply, 1), make(chan struct{})}, theirs, nil
}

// serve reads what QEMU says until it closes the connection, and returns the reason of the last
// SHUTDOWN event, "" if there was none (qapi/run-state.json of QEMU, ShutdownCause).
func (c *control) serve() (shutdown string) {
	defer close(c.closed)
	// Without this command there are no events, and there is nothing else to do.
	if _, err := c.conn.Write([]byte(`{"execute":"qmp_capabilities"}` + "\n")); err != nil {
		return ""
	}
	for lines := bufio.NewScanner(c.conn); lines.Scan(); {
		var message struct {
			reply
			ID    string
			Event string
			Data  struct{ Reason string }
		}
		switch err := json.Unmarshal(lines.Bytes(), &message); {
		case err != nil:
		case message.Event == "SHUTDOWN":
			shutdown = message.Data.Reason
		case message.ID == commandID:
			select {
			case c.replies <- message.reply:
			default: // the caller of an earlier command has given up
			}
		}
	}
	return shutdown
}

// commandID tells the replies to execute from others.
const commandID = "command"

// execute runs a command of QMP; one at a time.
func (c *control) execute(ctx context.Context, command string, arguments map[string]any) error {
	line, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments, "id": commandID})
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return err
	}
	select {
	case r := <-c.replies:
		if r.Error != nil {
			return errors.New(r.Error.Desc)
		}
		return nil
	case <-c.closed:
		return errors.New("QEMU has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Screenshot returns a picture of the machine's screen in the form of PNG. It fails if the machine
// has no screen, as those of arm64, or has ended.
func (v *VM) Screenshot(ctx context.Context) ([]byte, error) {
	name := filepath.Join(v.dir, "screen.ppm")
	defer os.Remove(name)
	// QEMU writes PNG itself only from 7.1 on, and only if it was built with libpng.
	if err := v.control.execute(ctx, "screendump", map[string]any{"filename": name}); err != nil {
		return nil, fmt.Errorf("take a picture of the screen: %w", err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	picture, err := decodePPM(data)
	if err != nil {
		return nil, fmt.Errorf("take a picture of the screen: %w", err)
	}
	var out bytes.Buffer
	err = png.Encode(&out, picture)
	return out.Bytes(), err
}

// decodePPM reads the form of PPM that QEMU writes: binary, with one byte for each colour of a pixel
// (ppm(5)).
func decodePPM(data []byte) (image.Image, error) {
	var width, height, most int
	r := bytes.NewReader(data)
	// The last blank is a single byte before the pixels.
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || most != 255 {
		return nil, errors.New("it is no picture in the form of PPM")
	}
	const channels = 3
	pixels := data[len(data)-r.Len():]
	if width < 1 || height < 1 || width > len(pixels) || height > len(pixels) || len(pixels) != width*height*channels {
		return nil, fmt.Errorf("a picture of %d × %d pixels has %d bytes", width, height, len(pixels))
	}
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		p := pixels[i*channels:]
		copy(picture.Pix[4*i:], []byte{p[0], p[1], p[2], 0xff})
	}
	return picture, nil
}
