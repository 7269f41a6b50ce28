// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// TestEarlyInitramfsFollowsTheConfigurationOfPackages: what postinsts of packages write is there, and a hook that may
// see more than files prevents it.
func TestEarlyInitramfsFollowsTheConfigurationOfPackages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hook string
		want error
	}{
		{"usr/share/initramfs-tools/hooks/udev", nil},
		{"usr/share/initramfs-tools/hooks/cryptroot", errUnknownHooks},
		{"etc/initramfs-tools/hooks/mine", errUnknownHooks},
	} {
		f := targettest.New(t, map[string]string{
			tt.hook: "", "etc/initramfs-tools/": "", "boot/vmlinuz-6.1": "", UpdateInitramfs: "", "usr/sbin/mkinitramfs": "",
			"usr/share/initramfs-tools/modules": "# a list\n### a note\nloop\n",
		})
		list := ""
		f.On = func(args []string, _ io.Writer) error {
			if args[0] == "update-initramfs" {
				list = f.Readable("/etc/initramfs-tools/modules") + f.Readable("/etc/fstab")
			}
			return nil
		}
		fstab := Fstab{Entries: []FstabEntry{{Device: "UUID=1", Dir: "/", Type: "ext4"}}}
		err := EarlyInitramfs(t.Context(), &Context{Target: f, Out: NewTail(nil)}, nil, []Step{fstab, Initramfs{}})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.hook, err, tt.want)
		}
		if tt.want != nil {
			if len(f.Transcript) > 0 {
				t.Errorf("%s: it ran %q", tt.hook, f.Transcript)
			}
			continue
		}
		if !slices.Equal(f.Transcript, []string{"ldconfig", "update-initramfs -c -k 6.1"}) {
			t.Errorf("it ran %q", f.Transcript)
		}
		if !strings.HasPrefix(list, "# a list\nloop\n") || !strings.Contains(list, "UUID=1") {
			t.Errorf("the initramfs saw %q", list)
		}
	}
}

func TestEarlyInitramfsNeedsIndexesOfModules(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	err := EarlyInitramfs(t.Context(), &Context{Target: f, Out: NewTail(nil), Derived: t.TempDir()}, []string{"6.1"}, nil)
	if err == nil || !strings.Contains(err.Error(), "6.1") {
		t.Errorf("got %v", err)
	}
}
