package builder

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// configure writes what in the root file system depends on the disk.
func (d Disk) configure(f *target.Memory) error {
	if err := d.writeFstab(f); err != nil {
		return err
	}
	if d.Grow != step.GrowNothing {
		if err := d.growStep().Write(f); err != nil {
			return err
		}
	}
	return d.Loader.Configure(d.Disk, f)
}

// writeFstab writes /etc/fstab, and keeps the lines of an older one that are about other places.
func (d Disk) writeFstab(f *target.Memory) error {
	old, err := f.ReadFile("/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries := fstabEntries(&d)
	if err := f.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := (step.Fstab{Entries: entries}).Write(f); err != nil {
		return err
	}
	text, err := f.ReadFile("/etc/fstab")
	if err != nil {
		return err
	}
	return f.WriteFile("/etc/fstab", append(text, otherMounts(string(old))...), 0o644)
}

// diskMounts are the places in fstab(5) that are those of the disk, whether it has a partition for them or not.
var diskMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/proc", "none", "swap"}

// otherMounts are the lines of a fstab that are not about the disk.
func otherMounts(fstab string) string {
	var kept strings.Builder
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) > 2 && !strings.HasPrefix(fields[0], "#") && !slices.Contains(diskMounts, fields[1]) {
			kept.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return kept.String()
}
