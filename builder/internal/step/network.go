// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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
	var units []string
	if n.Networkd {
		if err := target.WriteFileIn(s.Target, dhcpNetworkName, DHCPNetwork, 0o644); err != nil {
			return err
		}
		units = append(units, "systemd-networkd")
	}
	if n.Resolved {
		units = append(units, "systemd-resolved")
	}
	if err := enableUnits(ctx, s, units); err != nil {
		return err
	}
	if n.Resolved {
		return s.Target.Symlink("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")
	}
	return nil
}

// networkManagers are programs that configure network cards by themselves, and the names by which cloud-init knows
// them, "" for those that it cannot configure.
var networkManagers = []struct{ program, renderer string }{
	{"/usr/sbin/NetworkManager", "network-manager"},
	{"/usr/sbin/connmand", ""},
}

// cloudInit is the program, and cloudRenderers the directory of its modules for the managers of networkManagers.
const (
	cloudInit      = "/usr/bin/cloud-init"
	cloudRenderers = "/usr/lib/python3/dist-packages/cloudinit/net/"
)

// CloudNetworkName is a file that has cloud-init configure the program that manages the network. Without it, cloud-init
// prefers ifupdown, which then manages the cards of the other program, and of which it asks an IPv6 address by DHCP:
// networking.service fails if no client for that is installed.
const CloudNetworkName = "/etc/cloud/cloud.cfg.d/06_network.cfg"

// wirelessManagers are programs that connect wireless cards, and leave their addresses to others.
var wirelessManagers = []string{"/usr/sbin/wpa_supplicant", "/usr/libexec/iwd"}

// Configuration of systemd-networkd for wireless cards. Without an access point in reach they are never online, which
// must not be waited for.
const (
	WirelessNetworkName = "/etc/systemd/network/99-dhcp-wireless.network"
	wirelessNetwork     = "[Match]\nName=wl*\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=yes\n"
)

// IfupdownNetworkName has systemd-networkd leave the cards to ifupdown that the files of interfaces(5) name.
const IfupdownNetworkName = "/etc/systemd/network/90-ifupdown.network"

// OneNetworkManager leaves the network cards to a program that packages or hooks have brought, and has systemd-networkd
// configure none: with two, each card gets two addresses, or one of the services fails. cloud-init manages no card, but
// writes the configuration of the program that does.
type OneNetworkManager struct{ base }

func (OneNetworkManager) Kind() string { return "network.one" }

func (OneNetworkManager) Title() string { return "have one program manage the network" }

func (OneNetworkManager) Run(ctx context.Context, s *Context) error {
	// A file of another content is a hook's, which knows what it does.
	text, err := s.Target.ReadFile(dhcpNetworkName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(text) != DHCPNetwork {
		return nil
	}
	if err != nil {
		return err
	}
	networkd, renderer := true, "networkd"
	for _, m := range networkManagers {
		there, err := target.Exists(s.Target, m.program)
		if err != nil {
			return err
		}
		if there {
			networkd, renderer = false, m.renderer
			break
		}
	}
	configurable, err := configureCloudInit(s.Target, renderer)
	if err != nil {
		return err
	}
	if networkd && configurable {
		return shareCards(s.Target)
	}
	if err := s.Target.Remove(dhcpNetworkName); err != nil {
		return err
	}
	return s.inTarget(ctx, "systemctl", "--quiet", "disable", "systemd-networkd")
}

// configureCloudInit has cloud-init, if it is there, write the configuration of the program that manages the network.
// It reports whether that program may manage it: cloud-init of bullseye knows ifupdown and netplan only.
func configureCloudInit(t target.Target, renderer string) (bool, error) {
	there, err := target.Exists(t, cloudInit)
	if err != nil || !there {
		return true, err
	}
	known, err := target.Exists(t, cloudRenderers+strings.ReplaceAll(renderer, "-", "_")+".py")
	if err != nil || !known {
		return false, err
	}
	names := renderer + ", eni"
	if renderer == "networkd" {
		names = "netplan, " + names // which configures networkd, if it is installed
	}
	return true, target.WriteFileIn(t, CloudNetworkName, "# Written by vmdebootstrap: one program manages the network.\n"+
		"system_info:\n  network:\n    renderers: ["+names+"]\n    activators: ["+names+"]\n", 0o644)
}

// shareCards has systemd-networkd configure wireless cards if a program connects them, and leave cards of ifupdown
// alone.
func shareCards(t target.Target) error {
	for _, program := range wirelessManagers {
		there, err := target.Exists(t, program)
		if err != nil {
			return err
		}
		if there {
			if err := t.WriteFile(WirelessNetworkName, []byte(wirelessNetwork), 0o644); err != nil {
				return err
			}
		}
	}
	if there, err := target.Exists(t, "/usr/sbin/ifup"); err != nil || !there {
		return err
	}
	const more = "/etc/network/interfaces.d"
	entries, err := t.ReadDir(more)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files := []string{"/etc/network/interfaces"}
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, more+"/"+e.Name())
		}
	}
	var cards []string
	for _, name := range files {
		text, err := t.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "iface" && words[1] != "lo" {
				card, _, _ := strings.Cut(words[1], ":") // before the number of a second address
				cards = append(cards, card)
			}
		}
	}
	if len(cards) == 0 {
		return nil
	}
	slices.Sort(cards)
	text := "[Match]\nName=" + strings.Join(slices.Compact(cards), " ") + "\n\n[Link]\nUnmanaged=yes\n"
	return t.WriteFile(IfupdownNetworkName, []byte(text), 0o644)
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

// enableUnits enables services of the target with its own systemctl, which works without a running systemd.
func enableUnits(ctx context.Context, s *Context, units []string) error {
	for _, unit := range units {
		found := false
		for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
			exists, err := target.Exists(s.Target, dir+unit+".service")
			if err != nil {
				return err
			}
			found = found || exists
		}
		if !found {
			return fmt.Errorf("enable %s: no such service in the target", unit)
		}
	}
	if len(units) == 0 {
		return nil
	}
	return s.inTarget(ctx, append([]string{"systemctl", "--quiet", "enable"}, units...)...)
}
