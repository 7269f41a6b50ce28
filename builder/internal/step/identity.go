// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Hostname writes /etc/hostname and adds the name to the loopback line of /etc/hosts.
type Hostname struct {
	base
	Hostname string
}

func (Hostname) Kind() string { return "hostname" }

func (h Hostname) Title() string { return "set the host name to " + h.Hostname }

func (h Hostname) Run(_ context.Context, s *Context) error {
	if err := s.Target.WriteFile("/etc/hostname", []byte(h.Hostname+"\n"), 0o644); err != nil {
		return err
	}
	hosts, err := s.Target.ReadFile("/etc/hosts")
	if errors.Is(err, fs.ErrNotExist) {
		// netbase makes the file. Without it the name does not resolve, and sudo waits for that.
		hosts = []byte("127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n")
	} else if err != nil {
		return err
	}
	return s.Target.WriteFile("/etc/hosts", HostsWith(hosts, h.Hostname), 0o644)
}

// HostsWith appends the name to each line for 127.0.0.1 that does not contain it yet.
func HostsWith(hosts []byte, name string) []byte {
	lines := strings.SplitAfter(string(hosts), "\n")
	for i, line := range lines {
		text := strings.TrimRight(line, "\n")
		words := strings.Fields(text)
		if len(words) == 0 || words[0] != "127.0.0.1" {
			continue
		}
		found := false
		for _, w := range words[1:] {
			found = found || w == name
		}
		if !found {
			lines[i] = text + " " + name + line[len(text):]
		}
	}
	return []byte(strings.Join(lines, ""))
}

// Fstab writes /etc/fstab.
type Fstab struct {
	base
	Entries []FstabEntry
}

// FstabEntry is one line of fstab(5).
type FstabEntry struct {
	Device, Dir, Type, Options string
	Pass                       int
}

func (Fstab) Kind() string { return "fstab" }

func (f Fstab) Title() string { return "write /etc/fstab" }

func (f Fstab) Run(_ context.Context, s *Context) error { return f.Write(s.Target) }

// Write writes /etc/fstab and makes its mount points.
func (f Fstab) Write(files target.Files) error {
	var b strings.Builder
	for _, e := range f.Entries {
		fmt.Fprintf(&b, "%s %s %s %s 0 %d\n", e.Device, e.Dir, e.Type, e.Options, e.Pass)
	}
	for _, e := range f.Entries {
		if strings.HasPrefix(e.Dir, "/") {
			if err := files.MkdirAll(e.Dir, 0o755); err != nil {
				return err
			}
		}
	}
	return files.WriteFile("/etc/fstab", []byte(b.String()), 0o644)
}

// PersistentRules removes udev rules that bind device names to the hardware of the build machine (wheezy).
type PersistentRules struct{ base }

func (PersistentRules) Kind() string { return "udev.rules" }

func (PersistentRules) Title() string { return "remove persistent udev rules" }

func (PersistentRules) Run(_ context.Context, s *Context) error {
	for _, name := range []string{"70-persistent-cd.rules", "70-persistent-net.rules"} {
		if err := s.Target.Remove("/etc/udev/rules.d/" + name); err != nil {
			return err
		}
	}
	return nil
}
