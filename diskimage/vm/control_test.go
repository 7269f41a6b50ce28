// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/color"
	"image/png"
	"os"
	"strings"
	"testing"
)

// qmp returns a machine whose QMP is answered by a function: it gets the file of a screendump, and
// returns the line of the reply, "" for none. It ends with the test.
func qmp(t *testing.T, answer func(file string) string) *VM {
	t.Helper()
	c, theirs, err := newControl()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve()
	}()
	go func() {
		defer theirs.Close()
		for d := json.NewDecoder(theirs); ; {
			var command struct {
				Execute   string
				Arguments struct{ Filename string }
			}
			if d.Decode(&command) != nil {
				return
			}
			reply := `{"return": {}}` // to qmp_capabilities; it has no ID
			if command.Execute == "screendump" {
				reply = answer(command.Arguments.Filename)
			}
			if reply == "end" {
				return
			}
			_, _ = theirs.WriteString(reply + "\n")
		}
	}()
	t.Cleanup(func() {
		_ = c.conn.Close()
		<-ended
	})
	return &VM{control: c, dir: t.TempDir()}
}

func TestScreenshotIsAPNG(t *testing.T) {
	t.Parallel()
	v := qmp(t, func(file string) string {
		if err := os.WriteFile(file, []byte("P6\n2 1\n255\n\xff\x00\x00\n\x00\xff"), 0o600); err != nil {
			t.Error(err)
		}
		return `{"event": "RESUME"}` + "\n" + `{"return": {}, "id": "command"}`
	})
	for range 2 {
		data, err := v.Screenshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(data))
		if err != nil || picture.Bounds().Dx() != 2 || picture.Bounds().Dy() != 1 ||
			picture.At(0, 0) != (color.RGBA{255, 0, 0, 255}) || picture.At(1, 0) != (color.RGBA{'\n', 0, 255, 255}) {
			t.Fatalf("got %v (%v)", picture, err)
		}
	}
	if left, err := os.ReadDir(v.dir); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v (%v)", left, err)
	}
}

func TestScreenshotFailsWithAReason(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		`{"error": {"class": "GenericError", "desc": "no console"}, "id": "command"}`: "no console",
		"end":                             "QEMU has ended",
		`{"return": {}, "id": "command"}`: "no such file",
	} {
		_, err := qmp(t, func(string) string { return reply }).Screenshot(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", reply, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	v := qmp(t, func(string) string { cancel(); return "" })
	if _, err := v.Screenshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("no reply: got %v", err)
	}
}

func TestDecodePPMRefusesOtherFiles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "P5\n1 1\n255\n\x00", "P6\n1 1\n65535\n\x00\x00\x00\x00\x00\x00",
		"P6\n2 1\n255\nabc",
		"P6\n-1 -1\n255\nabc", "P6\n0 0\n255\n", "P6\n3037000500 3037000500\n255\nabc"} {
		if _, err := decodePPM([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
