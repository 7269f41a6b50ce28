// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// text returns a function for WriteFile that writes s.
func text(s string) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(s)
		return err
	}
}

// writeFile calls writeFiles for one file.
func writeFile(ctx context.Context, name string, mode fs.FileMode, write func(*os.File) error,
	create func(dir string, mode fs.FileMode) (*os.File, error),
) error {
	return writeFiles(ctx, []string{name}, mode, func(files []*os.File) error { return write(files[0]) }, create)
}

// listDir returns the names in a directory and the content of the regular files.
func listDir(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		item := e.Name()
		if e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			item += "=" + string(data)
		}
		all = append(all, item)
	}
	return strings.Join(all, " ")
}

// creators are the two ways in which WriteFile creates a file.
var creators = map[string]func(string, fs.FileMode) (*os.File, error){
	"unnamed": createUnnamed,
	"partial": func(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported },
}

func TestWriteFileCreatesAndReplaces(t *testing.T) {
	t.Parallel()
	for how, create := range creators {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.img")
		for _, content := range []string{"first", "second"} {
			if err := writeFile(t.Context(), name, 0o644, text(content), create); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if got, want := listDir(t, dir), "disk.img="+content; got != want {
				t.Errorf("%s: got %q, want %q", how, got, want)
			}
		}
		info, err := os.Stat(name)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: mode is %v, %v", how, info.Mode(), err)
		}
	}
}

func TestWriteFileLeavesNothingAfterAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for how, create := range creators {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.img")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, want := range []error{broken, context.Canceled} {
			err := writeFile(ctx, name, 0o644, func(f *os.File) error {
				if errors.Is(want, broken) {
					return errors.Join(text("half")(f), broken)
				}
				cancel()
				return text("whole")(f)
			}, create)
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", how, err, want)
			}
			if got := listDir(t, dir); got != "disk.img=old" {
				t.Errorf("%s: after %v: %q", how, want, got)
			}
		}
	}
}

func TestWriteFileRemovesLeftoversOfKilledBuilds(t *testing.T) {
	t.Parallel()
	for how, create := range creators {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.img")
		for file, content := range map[string]string{name: "old", partialName(name): "left over, and longer",
			partialName(dir + "/other.img"): "another's"} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeFile(t.Context(), name, 0o644, text("new"), create); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if got := listDir(t, dir); !strings.HasPrefix(got, ".other.img.vmdebootstrap-") ||
			!strings.HasSuffix(got, "=another's disk.img=new") {
			t.Errorf("%s: %q", how, got)
		}
	}
}

// A user's own file never has the name of an unfinished file (issue 12, A5).
func TestWriteFileLeavesTheUsersFilesAlone(t *testing.T) {
	t.Parallel()
	const random = "ABCDEFGHIJKLMNOPQRSTUVWXY" // one short
	for how, create := range creators {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.img")
		own := []string{name + ".partial", filepath.Join(dir, ".disk.img"),
			filepath.Join(dir, ".disk.img.vmdebootstrap-"+random)}
		for _, file := range append(own, name) {
			if err := os.WriteFile(file, []byte("own"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("disk.img.partial", partialName(name)); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(t.Context(), name, 0o644, text("new"), create); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		for _, file := range own {
			if data, err := os.ReadFile(file); err != nil || string(data) != "own" {
				t.Errorf("%s: %s holds %q (%v)", how, file, data, err)
			}
		}
	}
}

func TestWriteFileLeavesFilesOfOtherBuildsAlone(t *testing.T) {
	t.Parallel()
	for how, create := range creators {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.img")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		other, err := createPartial(name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := text("theirs")(other); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(t.Context(), name, 0o644, text("ours"), create); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if got, want := listDir(t, dir), filepath.Base(other.Name())+"=theirs disk.img=ours"; got != want {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
	}
}

// Issue 12, A6. Not parallel: the umask belongs to the process.
func TestWriteFileFollowsTheUmask(t *testing.T) {
	for how, create := range creators {
		for umask, want := range map[int]fs.FileMode{0o022: 0o644, 0o077: 0o600, 0: 0o666, 0o027: 0o640} {
			name := filepath.Join(t.TempDir(), "disk.img")
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			old := unix.Umask(umask)
			err := writeFile(t.Context(), name, 0o666, text("new"), create)
			unix.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(name); err != nil || info.Mode() != want {
				t.Errorf("%s: with the umask %03o the mode is %v (%v), want %v", how, umask, info.Mode(), err, want)
			}
		}
	}
}

func TestWriteFileAcceptsTheLongestName(t *testing.T) {
	t.Parallel()
	for how, create := range creators {
		name := filepath.Join(t.TempDir(), strings.Repeat("x", maxName))
		for range 2 {
			if err := writeFile(t.Context(), name, 0o644, text("new"), create); err != nil {
				t.Errorf("%s: %v", how, err)
			}
		}
	}
}

func TestWriteFileFollowsLinksToFilesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for link, target := range map[string]string{"link": "sub/link2", "sub/link2": "file", "todir": "sub",
		"loop": "loop", "todev": "/dev/null"} {
		if err := os.MkdirAll(filepath.Dir(at(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"new", "again"} {
		if err := WriteFile(t.Context(), at("link"), 0o644, text(content)); err != nil {
			t.Fatal(err)
		}
		if got := listDir(t, at("sub")); got != "file="+content+" link2" {
			t.Errorf("got %q", got)
		}
	}
	for name, want := range map[string]string{"sub": "a directory", "todir": "a directory", "todev": "a device",
		"loop": "symbolic links"} {
		err := WriteFile(t.Context(), at(name), 0o644, text("x"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want %q in it", name, err, want)
		}
	}
}

func TestWriteFileReportsThatTheDiskIsFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := WriteFile(t.Context(), filepath.Join(dir, "x"), 0o644, func(*os.File) error {
		return &fs.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}
	})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), fmt.Sprintf("%q is full", dir)) {
		t.Errorf("got %v", err)
	}
}

func TestWriteFileReportsAMissingDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "missing")
	err := WriteFile(t.Context(), filepath.Join(dir, "x"), 0o644, text("x"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want fs.ErrNotExist with the directory", err)
	}
}

// victimVariable makes TestWriteFileVictim write a file and wait for its end.
const victimVariable = "DISKIMAGE_TEST_VICTIM"

func TestWriteFileVictim(t *testing.T) {
	name := os.Getenv(victimVariable)
	if name == "" {
		return // not a test: TestWriteFileLeavesNothingWhenKilled runs it
	}
	err := WriteFile(t.Context(), name, 0o644, func(f *os.File) error {
		if err := text("half")(f); err != nil {
			return err
		}
		fmt.Println("\nwriting")
		_, err := io.Copy(io.Discard, os.Stdin) // until we are killed
		return err
	})
	t.Fatal(err)
}

func TestWriteFileLeavesNothingWhenKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if f, err := createUnnamed(dir, 0o600); err != nil {
		t.Skipf("the file system of %s has no O_TMPFILE: %v", dir, err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriteFileVictim$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), victimVariable+"="+filepath.Join(dir, "disk.img"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "writing" {
	}
	if lines.Text() != "writing" {
		t.Errorf("the child ended with %q", lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the child: %v", err)
	}
	if got := listDir(t, dir); got != "" {
		t.Errorf("left behind: %q", got)
	}
}

func TestFilesThatBelongTogetherAppearTogether(t *testing.T) {
	t.Parallel()
	for how, create := range creators {
		dir := t.TempDir()
		names := []string{filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk.qcow2")}
		broken := errors.New("broken")
		err := writeFiles(t.Context(), names, 0o644, func(files []*os.File) error {
			if strings.Contains(listDir(t, dir), "=") && how == "unnamed" {
				t.Errorf("%s: a file has its name already", how)
			}
			return errors.Join(text("raw")(files[0]), broken)
		}, create)
		if !errors.Is(err, broken) || listDir(t, dir) != "" {
			t.Errorf("%s: got %v and %q, want %v and nothing", how, err, listDir(t, dir), broken)
		}
		err = writeFiles(t.Context(), names, 0o644, func(files []*os.File) error {
			blocked := os.Mkdir(names[1], 0o755) // the second file cannot get its name
			return errors.Join(text("raw")(files[0]), text("qcow2")(files[1]), blocked)
		}, create)
		if err == nil || listDir(t, dir) != "disk.qcow2" {
			t.Errorf("%s: got %v and %q, want an error and only the directory", how, err, listDir(t, dir))
		}
		if err := os.Remove(names[1]); err != nil {
			t.Fatal(err)
		}
		err = writeFiles(t.Context(), names, 0o644, func(files []*os.File) error {
			return errors.Join(text("raw")(files[0]), text("qcow2")(files[1]))
		}, create)
		if want := "disk.img=raw disk.qcow2=qcow2"; err != nil || listDir(t, dir) != want {
			t.Errorf("%s: got %v and %q, want %q", how, err, listDir(t, dir), want)
		}
	}
}

// The longest names can be replaced, with and without O_TMPFILE (issue 15, 8).
func TestLongestNamesAreReplaced(t *testing.T) {
	t.Parallel()
	without := func(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }
	for length := 247; length <= 255; length++ {
		names := []string{filepath.Join(t.TempDir(), strings.Repeat("n", length))}
		for _, create := range []func(string, fs.FileMode) (*os.File, error){createUnnamed, createUnnamed, without} {
			if err := writeFiles(t.Context(), names, 0o644, func([]*os.File) error { return nil }, create); err != nil {
				t.Errorf("%d bytes: %v", length, err)
			}
		}
	}
}

func TestUnfinishedFilesAreTold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxName)
	for _, name := range []string{partialName("/d/a.img"), partialName("b"), partialName(long)} {
		if !IsUnfinished(name) {
			t.Errorf("%s is not told", name)
		}
	}
	for _, name := range []string{"a.img", ".a.img.vmdebootstrap-", ".vmdebootstrap-ABCDEFGHIJKLMNOPQRSTUVWXYZ", ""} {
		if IsUnfinished(name) {
			t.Errorf("%s is told", name)
		}
	}
}
