package builder

import (
	"context"
	"fmt"
	"path"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// extlinuxStep writes extlinux.conf, and puts a program into the target that keeps it in step with the kernels there,
// now and when the booted system gets others. The boot code outside of file systems is the assembler's work.
type extlinuxStep struct {
	// Directory is where extlinux.conf goes, the top of a file system: "/", or "/boot" if that is a partition.
	Directory string
	// SerialBaud, if not 0, has extlinux use the first serial line as well.
	SerialBaud int
	// Arguments are the kernel's.
	Arguments string
}

func (extlinuxStep) Kind() string { return "extlinux" }

func (extlinuxStep) Title() string { return "configure extlinux" }

func (e extlinuxStep) run(ctx context.Context, s *site) error {
	const (
		hook    = "/etc/kernel/postinst.d/" + syslinux.KernelHookName
		removal = "/etc/kernel/postrm.d/" + syslinux.KernelHookName
	)
	for _, name := range []string{hook, removal} {
		if err := s.target.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	if err := s.target.WriteFile(hook, syslinux.KernelHook(), 0o755); err != nil {
		return err
	}
	if err := s.target.Symlink("../postinst.d/"+syslinux.KernelHookName, removal); err != nil {
		return err
	}
	if err := writeKernelArguments(s.target, e.Arguments); err != nil {
		return err
	}
	// What the user's own program wrote stays.
	config := path.Join(e.Directory, syslinux.ConfigName)
	if there, err := exists(s.target, config); err != nil {
		return err
	} else if !there {
		if err := s.target.WriteFile(config, syslinux.Config{SerialBaud: e.SerialBaud}.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return s.inTarget(ctx, hook)
}

// extlinuxStep is what extlinux needs in the root file system.
func (d Disk) extlinuxStep() extlinuxStep {
	step := extlinuxStep{Directory: "/", Arguments: d.kernelArguments()}
	if d.boot().Role == diskimage.RoleBoot {
		step.Directory = "/boot"
	}
	if d.Serial != "" {
		step.SerialBaud = serialBaud
	}
	return step
}

// kernelArguments are those that a kernel needs to find its root file system and its consoles.
func (d Disk) kernelArguments() string {
	arguments := "root=" + deviceName(d.root()) + " ro"
	if d.Serial != "" {
		arguments += fmt.Sprintf(" console=tty0 console=%s,%d", d.Serial, serialBaud)
	}
	return arguments
}
