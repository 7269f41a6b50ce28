// SPDX-License-Identifier: Apache-2.0

package grub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

var (
	probeRoot = grub.ProbeFilesystem{UUID: "11111111-2222-3333-4444-555555555555", PartUUID: "aabbccdd-02",
		Type:      "ext4",
		Partition: 2}
	probeBoot = grub.ProbeFilesystem{UUID: "1234-ABCD", PartUUID: "aabbccdd-01", Type: "vfat", Partition: 1}
)

// script runs a shell script in a directory and returns its output without the final newline.
func script(t *testing.T, text []byte, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", string(text), "script"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSuffix(string(out), "\n"), err
}

// TestProbeScriptAnswersMkconfig runs the script with the calls of Debian's grub-mkconfig,
// grub-mkconfig_lib and /etc/grub.d.
func TestProbeScriptAnswersMkconfig(t *testing.T) {
	t.Parallel()
	root, boot := probeRoot, probeBoot
	text := grub.ProbeScript(grub.ProbeAnswers{Table: diskimage.MSDOS, Root: root, Boot: &boot})
	for _, tt := range []struct {
		args, want string
		fails      bool
	}{
		{"--target=device /", root.Device(), false},
		{"--target=device /boot", boot.Device(), false},
		{"--target=fs_uuid --device " + root.Device(), root.UUID, false},
		{"--device " + boot.Device() + " --target=fs_uuid", boot.UUID, false},
		{"--device " + root.Device() + " --target=partuuid", "aabbccdd-02", false},
		{"-t fs -d " + root.Device(), "ext2", false},
		{"--target=fs /boot/grub", "fat", false},
		{"-tfs /usr/share/grub", "ext2", false},
		{"--device " + root.Device() + " --target=partmap", "msdos", false},
		{"--device " + root.Device() + " --target=abstraction", "", false},
		{"--device " + root.Device() + " --target=compatibility_hint", "", false},
		{"--target=drive --device " + root.Device(), "(hd0,msdos2)", false},
		{"--target=device .", boot.Device(), false},
		{"--target=device ..", root.Device(), false},
		{"--target=fs_uuid --device /dev/sdz1", "", true},
		{"--target=nonsense /", "", true},
		{"--nonsense /", "", true},
	} {
		got, err := script(t, text, "/boot", strings.Fields(tt.args)...)
		if (err != nil) != tt.fails {
			t.Errorf("grub-probe %s: %v", tt.args, err)
		}
		if got != tt.want {
			t.Errorf("grub-probe %s: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// requestedTarget matches the target in a call of grub-probe.
var requestedTarget = regexp.MustCompile(`grub[-_]probe}?"?.*?(?:--target=|-t )([a-z_]+)`)

// TestProbeScriptSupportsEveryTarget searches the installed scripts for calls of grub-probe.
func TestProbeScriptSupportsEveryTarget(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("/etc/grub.d/*")
	if err != nil {
		t.Fatal(err)
	}
	names = append(names, diskimagetest.File(t, "/usr/share/grub/grub-mkconfig_lib"),
		diskimagetest.File(t, "/usr/sbin/grub-mkconfig"))
	targets := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range requestedTarget.FindAllStringSubmatch(string(data), -1) {
			targets[m[1]] = true
		}
	}
	if len(targets) < 5 {
		t.Fatalf("found only the targets %v in grub-mkconfig: the test does not understand its calls", targets)
	}
	text := grub.ProbeScript(grub.ProbeAnswers{Table: diskimage.GPT, Root: probeRoot})
	for target := range targets {
		if _, err := script(t, text, "/", "--device", probeRoot.Device(), "--target="+target); err != nil {
			t.Errorf("target %s: %v", target, err)
		}
	}
}

func TestRelpathScriptPrintsPathsWithinTheFileSystem(t *testing.T) {
	t.Parallel()
	one := grub.ProbeAnswers{Table: diskimage.MSDOS, Root: probeRoot}
	two := one
	two.Boot = &probeBoot
	for _, tt := range []struct {
		answers    grub.ProbeAnswers
		path, want string
	}{
		{one, "/", ""},
		{one, "/boot", "/boot"},
		{one, "/boot/vmlinuz", "/boot/vmlinuz"},
		{two, "/", ""},
		{two, "/boot", ""},
		{two, "/boot/vmlinuz", "/vmlinuz"},
		{two, "vmlinuz", "/vmlinuz"},
		{two, "/bootstrap", "/bootstrap"},
		{two, "/usr/share", "/usr/share"},
	} {
		got, err := script(t, grub.RelpathScript(tt.answers), "/boot", tt.path)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.path, got, err, tt.want)
		}
	}
	if got, err := script(t, grub.RelpathScript(one), "/", "/no/such/path"); err == nil {
		t.Errorf("a path that does not exist: got %q, no error", got)
	}
}
