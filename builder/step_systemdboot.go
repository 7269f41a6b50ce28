package builder

import "context"

// systemdBootStep has kernel-install(8) in the booted system make unified kernel images, as the assembler does for the
// kernels that are there from the beginning.
type systemdBootStep struct {
	// EntryToken begins the names of the images.
	EntryToken string
	// Arguments are the kernel's.
	Arguments string
}

// kernelInstallConfig names what is there in all images, so that what is installed later does not change the kind.
const kernelInstallConfig = "layout=uki\nuki_generator=ukify\n"

func (systemdBootStep) Kind() string { return "systemd-boot" }

func (systemdBootStep) Title() string { return "configure systemd-boot" }

func (b systemdBootStep) run(_ context.Context, s *site) error {
	if err := s.target.MkdirAll("/etc/kernel", 0o755); err != nil {
		return err
	}
	if err := writeKernelArguments(s.target, b.Arguments); err != nil {
		return err
	}
	if err := s.target.WriteFile("/etc/kernel/entry-token", []byte(b.EntryToken+"\n"), 0o644); err != nil {
		return err
	}
	return s.target.WriteFile("/etc/kernel/install.conf", []byte(kernelInstallConfig), 0o644)
}
