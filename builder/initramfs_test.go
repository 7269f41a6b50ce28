// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestInitramfsIsHeldBesideLiveTools installs live-tools, which diverts update-initramfs itself, with the real
// dpkg-divert: before packages are installed, with them, and not at all. It could not be installed.
func TestInitramfsIsHeldBesideLiveTools(t *testing.T) {
	t.Parallel()
	divert := diskimagetest.Tool(t, "dpkg-divert")
	const before, meanwhile, never = "before", "meanwhile", "never"
	for _, when := range []string{before, meanwhile, never} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			const wrapper, program = "/usr/bin/live-update-initramfs", "wrapper"
			f := targettest.New(t, map[string]string{"/usr/sbin/": "", "/boot/": "", "/etc/": "", "/var/lib/dpkg/": "",
				wrapper: program})
			run := func(args ...string) error {
				out, err := exec.CommandContext(t.Context(), divert, append([]string{"--root", f.Root()}, args...)...).
					CombinedOutput()
				if err != nil {
					err = errors.New(string(out))
				}
				return err
			}
			liveTools := func() error { // its preinst and its link
				err := run("--package", "live-tools", "--quiet", "--add", "--rename", "--divert",
					"/usr/sbin/update-initramfs.orig.initramfs-tools", "/usr/sbin/update-initramfs")
				if err != nil {
					return err
				}
				link := f.Path(step.UpdateInitramfs)
				return errors.Join(os.Symlink("../bin/live-update-initramfs", link+".new"), os.Rename(link+".new", link))
			}
			if when == before {
				if err := liveTools(); err != nil {
					t.Fatal(err)
				}
			}
			f.On = func(args []string, _ io.Writer) error {
				switch args[0] {
				case "dpkg-divert":
					return run(args[1:]...)
				case "apt-get": // dpkg diverts the file of initramfs-tools
					err := os.WriteFile(f.Path(step.UpdateInitramfsDiverted), []byte("real"), 0o755)
					if when == meanwhile {
						err = errors.Join(err, liveTools())
					}
					return err
				}
				return nil
			}
			install := step.AptInstall{Packages: []string{"initramfs-tools"}, HoldInitramfs: true}
			for _, s := range []step.Step{install, step.Initramfs{}} {
				if err := runStep(t, f, s); err != nil {
					t.Fatal(err)
				}
			}
			diversions := f.Readable("/var/lib/dpkg/diversions")
			if when == never {
				if got := f.Readable(step.UpdateInitramfs); got != "real" || strings.Contains(diversions, "initramfs") {
					t.Errorf("update-initramfs is %q, and the diversions are %q", got, diversions)
				}
				return
			}
			if got := f.Readable(wrapper); got != program {
				t.Errorf("the program of live-tools is %q", got)
			}
			if got := f.Readable(step.UpdateInitramfs); got != "-> ../bin/live-update-initramfs" {
				t.Errorf("update-initramfs is %q", got)
			}
			if got := f.Readable(step.UpdateInitramfsDiverted); got != "real" || !strings.Contains(diversions, "live-tools") {
				t.Errorf("what live-tools diverts is %q, and the diversions are %q", got, diversions)
			}
		})
	}
}
