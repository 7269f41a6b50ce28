// SPDX-License-Identifier: Apache-2.0

package step

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestFindmntAnswersAsInTheBootedImage runs the scripts. The first call is that of raspi-firmware, which wrote the
// overlay of the build to the kernel's command line.
func TestFindmntAnswersAsInTheBootedImage(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/bin/": ""})
	s := &Context{Target: f, Out: NewTail(nil)}
	m := Mounted{Mounts: []FstabEntry{
		{Device: "UUID=1234-ABCD", Dir: "/boot/firmware", Type: "vfat", Options: "defaults"},
		{Device: "PARTUUID=5678-02", Dir: "/", Type: "squashfs", Options: "ro"},
	}}
	if err := m.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	shell := diskimagetest.Tool(t, "dash")
	for _, tt := range []struct{ program, args, want string }{
		{findmnt, "--noheading --first-only --nofsroot --output=source /", "PARTUUID=5678-02"},
		{findmnt, "-no fstype,uuid /boot/firmware", "vfat 1234-ABCD"},
		{findmnt, "-n -o SOURCE --target /", "PARTUUID=5678-02"},
		{findmnt, "-rno TARGET --source UUID=1234-ABCD", "/boot/firmware"},
		{findmnt, "-no SIZE /", "the real findmnt -no SIZE /"},
		{findmnt, "-no SOURCE /proc", "the real findmnt -no SOURCE /proc"},
		{findmnt, "--json", "the real findmnt --json"},
		{mountpoint, "-q /boot/firmware", ""},
		{mountpoint, "-q /boot", "the real mountpoint -q /boot"},
		{mountpoint, "-d /boot/firmware", "the real mountpoint -d /boot/firmware"},
	} {
		// Each script runs the real program by its name in the image.
		script := strings.ReplaceAll(f.Readable(tt.program), tt.program+diverted, "echo the real "+filepath.Base(tt.program))
		script = strings.ReplaceAll(script, "exec ", "exec /bin/")
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), shell, append([]string{file}, strings.Fields(tt.args)...)...).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%s %s: got %q (%v), want %q", tt.program, tt.args, got, err, tt.want)
		}
	}
	if err := (Unmounted{}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if len(f.Transcript) != 4 || !strings.Contains(f.Transcript[3], "--remove "+mountpoint) ||
		f.Readable(findmnt) != "(absent)" {
		t.Errorf("ran %q, and %s is %q", f.Transcript, findmnt, f.Readable(findmnt))
	}
}
