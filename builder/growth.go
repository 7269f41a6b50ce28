package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// grower chooses for --grow.
func (s Spec) grower() step.Grower {
	switch {
	case !s.o.Grow:
		return step.GrowNothing
	case s.o.PartType == string(diskimage.GPT) && s.release.Vendor == debian.Debian && s.release.Since("bookworm", ""):
		return step.GrowRepart
	default:
		return step.GrowSfdisk
	}
}

// growPackages are the packages of the program.
func (s Spec) growPackages() []string {
	switch {
	case s.grower() == step.GrowSfdisk:
		return []string{"fdisk"} // not in every system made with variant=minbase
	case s.grower() == step.GrowRepart && s.release.Since("trixie", ""):
		return []string{"systemd-repart"} // part of systemd before
	default:
		return nil
	}
}

// growPossible: the disk has a root partition that can become larger, and the system has systemd-growfs.
func growPossible(s Spec) []error {
	switch {
	case !s.o.Grow:
		return nil
	case s.o.Image == "":
		return problem.New("--grow", "needs --image as well")
	case filesystem.Lookup(s.o.Roottype).ReadOnly:
		return problem.New("--grow", "a root file system of type %s never changes: choose another --roottype", s.o.Roottype)
	case filesystem.Lookup(s.o.Roottype).NoGrowth != "":
		return problem.New("--grow", "%s", filesystem.Lookup(s.o.Roottype).NoGrowth)
	case !s.release.Since("bullseye", "focal"):
		return problem.New("--grow", "%s is too old: it needs the systemd of Debian bullseye or Ubuntu focal", s.release.Codename)
	}
	return nil
}

// overlayPackages are the packages that the initramfs is made with: another program would not run what the step writes.
func (s Spec) overlayPackages() []string {
	if s.o.Image == "" || !filesystem.Lookup(s.o.Roottype).ReadOnly {
		return nil
	}
	return []string{"initramfs-tools"}
}
