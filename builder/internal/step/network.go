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

// DHCPNetwork is the configuration of systemd-networkd. Kernels and hypervisors without predictable names have eth0.
const DHCPNetwork = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"

// dhcpNetworkName is its file.
const dhcpNetworkName = "/etc/systemd/network/99-dhcp.network"

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
		if err := target.WriteFileIn(s.Target, dhcpNetworkName, DHCPNetwork, 0o644); err != nil {
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

// networkManagers are programs that configure network cards by themselves.
var networkManagers = []string{"/usr/sbin/NetworkManager", "/usr/bin/cloud-init", "/usr/sbin/connmand"}

// OneNetworkManager leaves the network cards to a program that packages or hooks have brought, and has systemd-networkd
// configure none: with two, each card gets two addresses, or one of the services fails.
type OneNetworkManager struct{ base }

func (OneNetworkManager) Kind() string { return "network.one" }

func (OneNetworkManager) Title() string { return "have one program manage the network" }

func (OneNetworkManager) Run(ctx context.Context, s *Context) error {
	for _, name := range networkManagers {
		if there, err := target.Exists(s.Target, name); err != nil {
			return err
		} else if !there {
			continue
		}
		// A file of another content is a hook's, which knows what it does.
		text, err := s.Target.ReadFile(dhcpNetworkName)
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(text) != DHCPNetwork {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Target.Remove(dhcpNetworkName); err != nil {
			return err
		}
		return s.inTarget(ctx, "systemctl", "--quiet", "disable", "systemd-networkd")
	}
	return nil
}

// maskPredictableNames keeps the kernel's names of network devices. Empty files mask both the udev rule that
// renames them (up to systemd 219, udev(7)) and the link file that does so since (systemd.link(5)). Links to
// /dev/null would do, but mkinitramfs copies what they lead to, with the owner and the time of the host's
// device.
func maskPredictableNames(t target.Target) error {
	for dir, name := range map[string]string{
		"/etc/udev/rules.d":    "80-net-setup-link.rules",
		"/etc/systemd/network": "99-default.link",
	} {
		if err := t.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := t.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
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
