package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// hostnameStep writes /etc/hostname and adds the name to the loopback line of /etc/hosts.
type hostnameStep struct {
	base
	Hostname string
}

func (hostnameStep) Kind() string { return "hostname" }

func (h hostnameStep) Title() string { return "set the host name to " + h.Hostname }

func (h hostnameStep) run(_ context.Context, s *site) error {
	if err := s.target.WriteFile("/etc/hostname", []byte(h.Hostname+"\n"), 0o644); err != nil {
		return err
	}
	hosts, err := s.target.ReadFile("/etc/hosts")
	if errors.Is(err, fs.ErrNotExist) {
		// netbase makes the file; without it the name would not resolve, and sudo waits for that.
		hosts = []byte("127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n")
	} else if err != nil {
		return err
	}
	return s.target.WriteFile("/etc/hosts", hostsWith(hosts, h.Hostname), 0o644)
}

// hostsWith appends the name to each line that starts with 127.0.0.1 and does not hold it yet.
func hostsWith(hosts []byte, name string) []byte {
	lines := strings.SplitAfter(string(hosts), "\n")
	for i, line := range lines {
		text := strings.TrimRight(line, "\n")
		words := strings.Fields(text)
		if len(words) == 0 || words[0] != "127.0.0.1" {
			continue
		}
		known := false
		for _, w := range words[1:] {
			known = known || w == name
		}
		if !known {
			lines[i] = text + " " + name + line[len(text):]
		}
	}
	return []byte(strings.Join(lines, ""))
}

// fstabStep writes /etc/fstab.
type fstabStep struct {
	base
	Entries []fstabEntry
}

// fstabEntry is one line of fstab(5).
type fstabEntry struct {
	Device, Dir, Type, Options string
	Pass                       int
}

func (fstabStep) Kind() string { return "fstab" }

func (f fstabStep) Title() string { return "write /etc/fstab" }

func (f fstabStep) run(_ context.Context, s *site) error { return f.write(s.target) }

func (f fstabStep) write(files target.Files) error {
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

// persistentRulesStep deletes udev rules that tie names to hardware of the machine that made them (wheezy).
type persistentRulesStep struct{ base }

func (persistentRulesStep) Kind() string { return "udev.rules" }

func (persistentRulesStep) Title() string { return "remove persistent udev rules" }

func (persistentRulesStep) run(_ context.Context, s *site) error {
	for _, name := range []string{"70-persistent-cd.rules", "70-persistent-net.rules"} {
		if err := s.target.Remove("/etc/udev/rules.d/" + name); err != nil {
			return err
		}
	}
	return nil
}
