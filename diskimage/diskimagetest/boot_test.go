package diskimagetest

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var login = []line{{want: regexp.MustCompile("login: ")}}

func TestWatchFindsTextThatComesInPieces(t *testing.T) {
	t.Parallel()
	console := iotest.OneByteReader(strings.NewReader("Linux version 6\r\ndebian login: more"))
	text, err := watch(console, io.Discard, login)
	if err != nil || !strings.HasSuffix(text, "debian login: ") {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestWatchGivesUpAtOnce(t *testing.T) {
	t.Parallel()
	never := io.MultiReader(strings.NewReader("Kernel panic - not syncing"), iotest.ErrReader(errors.New("read on")))
	if _, err := watch(never, io.Discard, login); err == nil || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("got %v, want the panic", err)
	}
	if _, err := watch(strings.NewReader("nothing"), io.Discard, login); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want io.EOF", err)
	}
}

// TestWatchTypesTheScript: everything comes in one piece, and what an exchange waits for is looked for behind the one
// before it.
func TestWatchTypesTheScript(t *testing.T) {
	t.Parallel()
	script := BootOptions{Want: "done 0", Session: []Exchange{{"login: ", "root\n"}, {"# ", "true; echo done $?\n"}}}.script(t)
	console := strings.NewReader("# done 0 login: root\r\n\x1b[?2004h# true; echo done $?\r\ndone 0")
	var typed strings.Builder
	if _, err := watch(console, &typed, script); err != nil {
		t.Error(err)
	}
	if got, want := typed.String(), "root\ntrue; echo done $?\n"; got != want {
		t.Errorf("typed %q, want %q", got, want)
	}
	if _, err := watch(strings.NewReader("# done 0 login: "), io.Discard, script); err == nil || !strings.Contains(err.Error(), `"# "`) {
		t.Errorf("got %v, want the exchange that is waited for", err)
	}
}

func TestLastLinesAreReadable(t *testing.T) {
	t.Parallel()
	got := lastLines("one\r\n\r\n\x1b[2J\x1b[0;32mtwo\x1b[0m \r\nthree", 2)
	if want := "two\nthree"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBootRunsABootSector boots 512 bytes that write a word to the serial line.
func TestBootRunsABootSector(t *testing.T) {
	t.Parallel()
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x16, 0x7c, // mov si, 0x7c16 (the text)
		0xba, 0xf8, 0x03, // mov dx, 0x3f8 (first serial port)
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz halt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	}
	sector := make([]byte, 1<<20)
	copy(sector, append(code, "MARK reached\r\n\x00"...))
	binary.LittleEndian.PutUint16(sector[510:], 0xaa55)
	image := filepath.Join(t.TempDir(), "disk,1.img")
	if err := os.WriteFile(image, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	text := Boot(t, image, BootOptions{Want: "MARK reached", Timeout: time.Minute})
	if !strings.Contains(text, "SeaBIOS") {
		t.Errorf("the firmware is not on the console:\n%s", text)
	}
}
