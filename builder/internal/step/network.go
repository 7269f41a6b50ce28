// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Network sets up the network as table B.8 of the specification says for each release.
type Network struct {
	base
	// Networkd makes systemd-networkd use DHCP on each Ethernet device.
	Networkd bool
	// Resolved makes systemd-resolved resolve names, with a link from /etc/resolv.conf.
	Resolved bool
	// Ifupdown writes /etc/network/interfaces, with Include as its only line, and interfaces.d/setup.
	Ifupdown bool
	Include  string
	// DHCP adds eth0 to interfaces.d/setup.
	DHCP bool
	// OldNames keeps names like eth0 by masking udev's predictable names.
	OldNames bool
}

// DHCPNetwork is the configuration of systemd-networkd.
const DHCPNetwork = "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n"

// Parts of interfaces.d/setup for ifupdown.
const (
	LoopbackInterface = "auto lo\niface lo inet loopback\n"
	DHCPInterface     = "\nauto eth0\niface eth0 inet dhcp\n"
)

func (Network) Kind() string { return "network" }

func (n Network) Title() string {
	var by []string
	if n.Networkd {
		by = append(by, "systemd-networkd")
	}
	if n.Resolved {
		by = append(by, "systemd-resolved")
	}
	if n.Ifupdown {
		by = append(by, "ifupdown")
	}
	return "set up the network with " + strings.Join(by, " and ")
}

func (n Network) Run(ctx context.Context, s *Context) error {
	if n.Ifupdown {
		setup := LoopbackInterface
		if n.DHCP {
			setup += DHCPInterface
		}
		if err := target.WriteFileIn(s.Target, "/etc/network/interfaces.d/setup", setup, 0o644); err != nil {
			return err
		}
		if err := target.WriteFileIn(s.Target, "/etc/network/interfaces", n.Include+"\n", 0o644); err != nil {
			return err
		}
	}
	if n.OldNames {
		if err := maskPredictableNames(s.Target); err != nil {
			return err
		}
	}
	if n.Networkd {
		if err := target.WriteFileIn(s.Target, "/etc/systemd/network/99-dhcp.network", DHCPNetwork, 0o644); err != nil {
			return err
		}
		if err := enableUnit(ctx, s, "systemd-networkd"); err != nil {
			return err
		}
	}
	if n.Resolved {
		if err := enableUnit(ctx, s, "systemd-resolved"); err != nil {
			return err
		}
		return s.Target.Symlink("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")
	}
	return nil
}

// maskPredictableNames keeps the kernel's names of network devices. Links to /dev/null mask both the udev rule that
// renames them (up to systemd 219) and the link file that does so since (systemd.link(5)).
func maskPredictableNames(t target.Target) error {
	for dir, name := range map[string]string{
		"/etc/udev/rules.d":    "80-net-setup-link.rules",
		"/etc/systemd/network": "99-default.link",
	} {
		if err := t.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := t.Symlink("/dev/null", dir+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// enableUnit enables a service of the target with its own systemctl, which works without a running systemd.
func enableUnit(ctx context.Context, s *Context, unit string) error {
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		exists, err := target.Exists(s.Target, dir+unit+".service")
		if err != nil {
			return err
		}
		if exists {
			return s.inTarget(ctx, "systemctl", "--quiet", "enable", unit)
		}
	}
	return fmt.Errorf("enable %s: no such service in the target", unit)
}
