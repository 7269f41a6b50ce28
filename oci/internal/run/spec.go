// SPDX-License-Identifier: Apache-2.0

package run

import (
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
)

// hostname is what every container is called. Maintainer scripts put it into what they generate, so that the name of
// the build host must not be there.
const hostname = "debian"

// deviceNodes are the devices of a container; they are bound from the host, as a user namespace may not make any.
var deviceNodes = []string{"null", "zero", "full", "random", "urandom", "tty"}

// Spec is the container in which a process runs: root as its root directory, its own /dev and /proc, the host's /sys
// for reading, then the mounts, in their order. It is all that the runner goes by.
//
// A tmpfs that is mounted on a directory called dev also gets the links that the runtime specification asks for in
// /dev (fd, stdin, stdout, stderr, ptmx).
func Spec(root string, p *specs.Process, mounts []specs.Mount) *specs.Spec {
	all := append(DevMounts("/dev"), ProcMount("/proc"), SysMount("/sys"))
	return &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: root},
		Hostname: hostname,
		Process:  p,
		Mounts:   append(all, mounts...),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
			},
			// What belongs to the host's kernel even where the container's root is the host's.
			ReadonlyPaths: []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"},
			// Whether the build host has EFI firmware must not change a boot loader's mind.
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/latency_stats",
				"/proc/sched_debug", "/proc/scsi",
				"/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
			},
		},
	}
}

// DevMounts make a /dev at a directory.
func DevMounts(dst string) []specs.Mount {
	list := []specs.Mount{{Destination: dst, Type: "tmpfs", Source: "tmpfs",
		Options: []string{"nosuid", "nodev", "noexec", "mode=755"}}}
	for _, name := range deviceNodes {
		// A device on a read-only mount can be written to, but a real root cannot change the mode of the host's file.
		list = append(list, specs.Mount{Destination: path.Join(dst, name), Type: "bind", Source: "/dev/" + name,
			Options: []string{"bind", "ro", "nosuid", "noexec", mounts.DeviceOption}})
	}
	return append(list,
		specs.Mount{
			Destination: path.Join(dst, "pts"), Type: "devpts", Source: "devpts",
			// 5 is the group tty of every Debian.
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		specs.Mount{Destination: path.Join(dst, "shm"), Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "nodev", "noexec", "mode=1777"}},
	)
}

// ProcMount mounts a new procfs, that of the PID namespace.
func ProcMount(dst string) specs.Mount {
	return specs.Mount{Destination: dst, Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}}
}

// SysMount binds the host's: a new sysfs needs a network namespace of one's own.
func SysMount(dst string) specs.Mount {
	return specs.Mount{Destination: dst, Type: "bind", Source: "/sys",
		Options: []string{"rbind", "nosuid", "noexec", "nodev", "rro"}}
}

// MountsForRun make a /run at a directory that begins with a copy of template and is gone after the run.
func MountsForRun(template, dst string) []specs.Mount {
	return []specs.Mount{
		{Destination: dst, Type: "bind", Source: template, Options: []string{"bind", "ro"}},
		{Destination: dst, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755",
			mounts.CopyUpOption}},
	}
}

// unsupported names the first field of a process that the runner would have to ignore.
func unsupported(p *specs.Process) string {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"Terminal", p.Terminal}, {"ConsoleSize", p.ConsoleSize != nil}, {"CommandLine", p.CommandLine != ""},
		{"Capabilities", p.Capabilities != nil}, {"Rlimits", len(p.Rlimits) > 0},
		{"NoNewPrivileges", p.NoNewPrivileges},
		{"ApparmorProfile", p.ApparmorProfile != ""}, {"OOMScoreAdj", p.OOMScoreAdj != nil},
		{"Scheduler", p.Scheduler != nil},
		{"SelinuxLabel", p.SelinuxLabel != ""}, {"IOPriority", p.IOPriority != nil},
		{"ExecCPUAffinity", p.ExecCPUAffinity != nil},
		{"User.Username", p.User.Username != ""},
	} {
		if f.set {
			return f.name
		}
	}
	return ""
}

// has reports whether a mount has an option.
func has(m specs.Mount, option string) bool { return slices.Contains(m.Options, option) }
