// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

func TestHostnameJoinsTheLoopbackLineOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, before, want string }{
		{"netbase", "127.0.0.1\tlocalhost\n::1\t\tlocalhost\n", "127.0.0.1\tlocalhost tux\n::1\t\tlocalhost\n"},
		{"already there", "127.0.0.1 localhost tux\n", "127.0.0.1 localhost tux\n"},
		{"no newline", "127.0.0.1 localhost", "127.0.0.1 localhost tux"},
		{"other address", "127.0.0.10 a\n", "127.0.0.10 a\n"},
	} {
		if got := string(step.HostsWith([]byte(tt.before), "tux")); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHostnameMakesHostsWhereNetbaseIsMissing(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/": ""})
	if err := runStep(t, f, step.Hostname{Hostname: "tux"}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/etc/hosts"); !strings.Contains(got, "127.0.0.1\tlocalhost tux\n") {
		t.Errorf("/etc/hosts: %q", got)
	}
	if got := f.Readable("/etc/hostname"); got != "tux\n" {
		t.Errorf("/etc/hostname: %q", got)
	}
}

// TestNetworkByRelease is table B.8 of the specification.
func TestNetworkByRelease(t *testing.T) {
	t.Parallel()
	const (
		network    = "/etc/systemd/network/99-dhcp.network"
		interfaces = "/etc/network/interfaces"
		setup      = "/etc/network/interfaces.d/setup"
		resolv     = "/etc/resolv.conf"
		rules      = "/etc/udev/rules.d/80-net-setup-link.rules"
		link       = "/etc/systemd/network/99-default.link"
		absent     = "(absent)"
		sourceDir  = "source-directory /etc/network/interfaces.d\n"
	)
	for _, tt := range []struct {
		name     string
		codename string
		options  func(*Options)
		files    map[string]string
		commands []string
	}{
		{
			"wheezy ignores networkd", "wheezy", nil,
			map[string]string{network: absent, interfaces: "source /etc/network/interfaces.d/*\n",
				setup: step.LoopbackInterface, resolv: absent, rules: absent},
			nil,
		},
		{
			"wheezy with dhcp", "wheezy", func(o *Options) { o.EnableDHCP = true },
			map[string]string{setup: "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"},
			nil,
		},
		{
			"jessie has both", "jessie", nil,
			map[string]string{network: step.DHCPNetwork, interfaces: sourceDir, setup: step.LoopbackInterface,
				resolv: absent, rules: absent},
			[]string{"systemctl --quiet enable systemd-networkd"},
		},
		{
			"stretch and later", "stretch", nil,
			map[string]string{network: "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n", interfaces: absent,
				resolv: "-> /run/systemd/resolve/resolv.conf", rules: absent},
			[]string{"systemctl --quiet enable systemd-networkd systemd-resolved"},
		},
		{
			"without networkd", "trixie", func(o *Options) { o.SystemdNetworkd = false; o.EnableDHCP = true },
			map[string]string{
				network: absent, interfaces: sourceDir, setup: step.LoopbackInterface + step.DHCPInterface,
				resolv: absent,
				rules:  "", link: "", // mkinitramfs copies what links lead to
			},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			release, ok := debian.LookupRelease(tt.codename)
			if !ok {
				t.Fatalf("no release %s", tt.codename)
			}
			o := DefaultOptions()
			if tt.options != nil {
				tt.options(&o)
			}
			f := targettest.New(t, map[string]string{
				"/etc/": "", "/usr/lib/systemd/system/systemd-networkd.service": "",
				"/usr/lib/systemd/system/systemd-resolved.service": "",
			})
			if err := runStep(t, f, newNetworkStep(o, release)); err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.files {
				if got := f.Readable(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if !slices.Equal(f.Transcript, tt.commands) {
				t.Errorf("ran %q, want %q", f.Transcript, tt.commands)
			}
		})
	}
}

// Issue 14, 3: cloud-init and NetworkManager shared the cards with systemd-networkd.
func TestNetworkHasOneManager(t *testing.T) {
	t.Parallel()
	const (
		network  = "/etc/systemd/network/99-dhcp.network"
		modules  = "/usr/lib/python3/dist-packages/cloudinit/net/"
		networkd = "renderers: [netplan, networkd, eni]\n"
		nm       = "renderers: [network-manager, eni]\n"
	)
	disable := []string{"systemctl --quiet disable systemd-networkd"}
	for _, tt := range []struct {
		name, programs, text, want, cloud string
		commands                          []string
	}{
		{"networkd alone", "", step.DHCPNetwork, step.DHCPNetwork, "", nil},
		{"cloud-init", "/usr/bin/cloud-init " + modules + "networkd.py", step.DHCPNetwork, step.DHCPNetwork, networkd, nil},
		{"cloud-init of bullseye", "/usr/bin/cloud-init", step.DHCPNetwork, "(absent)", "", disable},
		{"NetworkManager", "/usr/sbin/NetworkManager", step.DHCPNetwork, "(absent)", "", disable},
		{"cloud-init, NetworkManager", "/usr/bin/cloud-init /usr/sbin/NetworkManager " + modules + "network_manager.py",
			step.DHCPNetwork, "(absent)", nm, disable},
		{"cloud-init, connman", "/usr/bin/cloud-init /usr/sbin/connmand " + modules + "networkd.py", step.DHCPNetwork,
			"(absent)", "", disable},
		{"a hook's file", "/usr/sbin/NetworkManager", "[Match]\nName=wg0\n", "[Match]\nName=wg0\n", "", nil},
	} {
		files := map[string]string{network: tt.text}
		for _, program := range strings.Fields(tt.programs) {
			files[program] = "x"
		}
		f := targettest.New(t, files)
		if err := runStep(t, f, step.OneNetworkManager{}); err != nil {
			t.Fatal(err)
		}
		if got := f.Readable(network); got != tt.want || !slices.Equal(f.Transcript, tt.commands) {
			t.Errorf("%s: got %q after %q", tt.name, got, f.Transcript)
		}
		if got := f.Readable(step.CloudNetworkName); tt.cloud == "" && got != "(absent)" || !strings.Contains(got, tt.cloud) {
			t.Errorf("%s: cloud-init has %q, want %q", tt.name, got, tt.cloud)
		}
	}
}

// Issue 14, 3: networkd has the wireless cards if a program connects them, and never a card of ifupdown's.
func TestNetworkdHasTheCardsThatAreItsOwn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ program, wireless, ifupdown string }{
		{"/usr/bin/true", "(absent)", "(absent)"},
		{"/usr/sbin/wpa_supplicant", "[Match]\nName=wl*\n", "(absent)"},
		{"/usr/libexec/iwd", "[Match]\nName=wl*\n", "(absent)"},
		{"/usr/sbin/ifup", "(absent)", "[Match]\nName=eth0 wlan0\n\n[Link]\nUnmanaged=yes\n"},
	} {
		f := targettest.New(t, map[string]string{
			tt.program: "x", "/etc/systemd/network/99-dhcp.network": step.DHCPNetwork,
			"/etc/network/interfaces":         "source interfaces.d/*\niface lo inet loopback\niface eth0:1 inet dhcp\n",
			"/etc/network/interfaces.d/wlan0": "iface eth0 inet static\niface wlan0 inet dhcp\n",
			"/etc/network/interfaces.d/old/":  "",
		})
		if err := runStep(t, f, step.OneNetworkManager{}); err != nil {
			t.Fatal(err)
		}
		if got := f.Readable(step.WirelessNetworkName); !strings.HasPrefix(got, tt.wireless) {
			t.Errorf("%s: wireless cards: got %q, want %q", tt.program, got, tt.wireless)
		}
		if got := f.Readable(step.IfupdownNetworkName); got != tt.ifupdown {
			t.Errorf("%s: cards of ifupdown: got %q, want %q", tt.program, got, tt.ifupdown)
		}
	}
}

func TestNetworkSaysWhichServiceIsMissing(t *testing.T) {
	t.Parallel()
	err := runStep(t, targettest.New(t, nil), step.Network{Networkd: true})
	if err == nil || !strings.Contains(err.Error(), "systemd-networkd") {
		t.Errorf("got %v, want an error that names systemd-networkd", err)
	}
}

func TestAccountsFollowTheRulesOfTheManual(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		step  step.Step
		want  []string
		stdin string
	}{
		{"empty by default", step.RootPassword{}, []string{"passwd -q -d root"}, ""},
		{"locked", step.RootPassword{Lock: true}, []string{"passwd -q -l root"}, ""},
		{
			"the password wins over the lock", step.RootPassword{Password: secret.New("s3cret"), Lock: true},
			[]string{"perl -e " + step.HashProgram, "chpasswd --encrypted"},
			"root:$y$j9T$" + step.Salt(uuid.Nil, "root") + "$hash\n",
		},
		{
			"user without a password", step.AddUser{User: step.User{Name: "alice"}},
			[]string{"adduser --quiet --gecos alice --disabled-password alice", "passwd -q -d alice"}, "",
		},
		{
			"user with sudo and password", step.AddUser{User: step.User{Name: "alice", Password: secret.New("s3cret"),
				HasPassword: true}, Sudo: true},
			[]string{"adduser --quiet --gecos alice --disabled-password alice", "adduser --quiet alice sudo",
				"perl -e " + step.HashProgram, "chpasswd --encrypted"},
			"alice:$y$j9T$" + step.Salt(uuid.Nil, "alice") + "$hash\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := targettest.New(t,
				map[string]string{step.CommonPassword: "password [success=1] pam_unix.so obscure yescrypt\n"})
			f.On = crypt(f)
			if err := runStep(t, f, tt.step); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(f.Transcript, tt.want) {
				t.Errorf("ran %q, want %q", f.Transcript, tt.want)
			}
			if got := f.Stdin[len(f.Stdin)-1]; got != tt.stdin {
				t.Errorf("standard input %q, want %q", got, tt.stdin)
			}
			data, err := json.Marshal(tt.step)
			if err != nil {
				t.Fatal(err)
			}
			if seen := string(data) + tt.step.Title() + strings.Join(f.Transcript, " "); strings.Contains(seen,
				"s3cret") {
				t.Errorf("the password is seen in %q", seen)
			}
		})
	}
}

// crypt answers for perl, with a hash that begins with the setting.
func crypt(f *targettest.Target) func([]string, io.Writer) error {
	return func(args []string, out io.Writer) error {
		if args[0] != "perl" {
			return nil
		}
		_, setting, _ := strings.Cut(strings.TrimSpace(f.Stdin[len(f.Stdin)-1]), "\n")
		_, err := io.WriteString(out, setting+"$hash")
		return err
	}
}

func TestPasswordsAreHashedAsTheSuiteDoes(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{step.CommonPassword: "password [success=1] pam_unix.so obscure sha512\n"})
	f.On = crypt(f)
	if err := runStep(t, f, step.RootPassword{Password: secret.New("s3cret")}); err != nil {
		t.Fatal(err)
	}
	if got := f.Stdin[len(f.Stdin)-1]; !strings.HasPrefix(got, "root:$6$") {
		t.Errorf("chpasswd got %q, want a hash of SHA-512", got)
	}
	f.On = func(_ []string, out io.Writer) error {
		_, err := io.WriteString(out, "*0") // what crypt(3) answers if it does not know the setting
		return err
	}
	if err := runStep(t, f, step.RootPassword{Password: secret.New("s3cret")}); err == nil ||
		!strings.Contains(err.Error(), "password of root") {
		t.Errorf("got %v, want an error about the password of root", err)
	}
	if step.Salt(uuid.Nil, "root") == step.Salt(uuid.Nil, "alice") || step.Salt(uuid.Nil, "root") == step.Salt(uuid.Max,
		"root") {
		t.Error("salts do not depend on account and seed")
	}
}

func TestInitramfsIsMadeOnceForEachKernel(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/sbin/": "", "/boot/": "", "/etc/": ""})
	f.On = func(args []string, _ io.Writer) error {
		switch {
		case args[0] == "apt-get": // installs initramfs-tools, which dpkg diverts, and two kernels
			if err := os.WriteFile(f.Path("/boot/vmlinuz-6.1.0-1-amd64"), nil, 0o644); err != nil {
				return err
			}
			if err := os.WriteFile(f.Path("/boot/vmlinuz-6.12.0-2-amd64"), nil, 0o644); err != nil {
				return err
			}
			return os.WriteFile(f.Path(step.UpdateInitramfsDiverted), []byte("real"), 0o755)
		case args[0] == "dpkg-divert" && slices.Contains(args, "--remove"):
			return os.Rename(f.Path(step.UpdateInitramfsDiverted), f.Path(step.UpdateInitramfs))
		}
		return nil
	}
	if err := runStep(t, f, step.AptInstall{Packages: []string{"linux-image-amd64"}, HoldInitramfs: true}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.UpdateInitramfs); got != step.UpdateInitramfsStandIn {
		t.Errorf("while packages are installed, update-initramfs is %q", got)
	}
	if err := runStep(t, f, step.Initramfs{}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.UpdateInitramfs); got != "real" {
		t.Errorf("afterwards, update-initramfs is %q", got)
	}
	made := slices.DeleteFunc(slices.Clone(f.Transcript),
		func(s string) bool { return !strings.HasPrefix(s, "update-initramfs") })
	want := []string{"update-initramfs -c -k 6.1.0-1-amd64", "update-initramfs -c -k 6.12.0-2-amd64"}
	if !slices.Equal(made, want) {
		t.Errorf("ran %q, want %q", made, want)
	}
}

func TestFsckStepIsForInitramfsToolsAlone(t *testing.T) {
	t.Parallel()
	for files, want := range map[string]bool{"/etc/initramfs-tools/": true, "/etc/dracut.conf.d/": false} {
		f := targettest.New(t, map[string]string{files: ""})
		if err := runStep(t, f, step.Fsck{Type: "f2fs"}); err != nil {
			t.Fatal(err)
		}
		text, err := f.ReadFile(step.FsckConfig)
		if got := strings.Contains(string(text), "\nFSTYPE=f2fs\n"); got != want {
			t.Errorf("with %s: %s is %q (%v), want it %t", files, step.FsckConfig, text, err, want)
		}
	}
}

func TestSourcesAreReadAgainAfterEssentialHooks(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
	f.On = func(args []string, _ io.Writer) error {
		if slices.Contains(args, "update") {
			return errors.New("no key for the mirror")
		}
		return nil
	}
	if err := runStep(t, f, step.AptInstall{Packages: []string{"wget"}, Update: true}); err != nil {
		t.Fatal(err)
	}
	if len(f.Transcript) != 2 || !strings.Contains(f.Transcript[0], " update ") ||
		!strings.HasSuffix(f.Transcript[1], " wget") {
		t.Errorf("ran %q", f.Transcript)
	}
}

func TestRecommendedPackagesAreInstalledOnRequest(t *testing.T) {
	t.Parallel()
	for _, step := range []step.Step{
		step.AptInstall{Packages: []string{"wget"}}, step.AptInstall{Packages: []string{"wget"}, Recommends: true},
		step.CustomPackages{Files: []string{"/inputs/0"}, Names: []string{"x.deb"}},
		step.CustomPackages{Files: []string{"/inputs/0"}, Names: []string{"x.deb"}, Recommends: true},
	} {
		f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
		if err := runStep(t, f, step); err != nil {
			t.Fatal(err)
		}
		_, said, _ := strings.Cut(f.Transcript[0], " install ")
		want := "--no-install-recommends "
		if strings.Contains(fmt.Sprintf("%+v", step), "Recommends:true") {
			want = "--install-recommends "
		}
		if !strings.HasPrefix(said, want) {
			t.Errorf("%+v: ran %q", step, f.Transcript)
		}
	}
}

func TestDaemonsStayBlockedOnlyDuringTheStep(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
	f.On = func([]string, io.Writer) error {
		if got := f.Readable(step.PolicyFile); got != step.PolicyScript {
			t.Errorf("during the step %s is %q", step.PolicyFile, got)
		}
		return nil
	}
	if err := runStep(t, f, step.AptInstall{Packages: []string{"openssh-server"}}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.PolicyFile); got != "(absent)" {
		t.Errorf("after the step %s is %q", step.PolicyFile, got)
	}
}

func TestDaemonPolicyOfTheTargetStays(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{step.PolicyFile: "mine"})
	if err := runStep(t, f, step.AptInstall{Packages: []string{"openssh-server"}}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.PolicyFile); got != "mine" {
		t.Errorf("%s is %q", step.PolicyFile, got)
	}
}

func TestCleanLeavesNothingOfTheBuild(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{
		"/etc/machine-id":                        "0123456789abcdef0123456789abcdef\n",
		"/var/lib/dbus/machine-id":               "0123456789abcdef0123456789abcdef\n",
		"/etc/resolv.conf":                       "nameserver 192.0.2.1\n",
		"/etc/.resolv.conf.systemd-resolved.bak": "nameserver 192.0.2.1\n",
		"/var/log/bootstrap.log":                 "x",
		"/var/cache/apt/archives/a_1.deb":        "x",
		"/var/cache/apt/pkgcache.bin":            "x",
		"/var/lib/apt/lists/x_Packages":          "x",
		"/tmp/install_debs/x":                    "x",
		"/run/lock/x":                            "x",
		"/home/alice/kept":                       "x",
		"/var/lib/apt/extended_states":           "x",
		"/usr/share/doc/apt/kept/as/it/is":       "x",
	})
	if err := runStep(t, f, step.Clean{}); err != nil {
		t.Fatal(err)
	}
	var left []string
	err := filepath.WalkDir(f.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, strings.TrimPrefix(path, f.Dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/etc/machine-id", "/home/alice/kept", "/usr/share/doc/apt/kept/as/it/is",
		"/var/lib/apt/extended_states"}
	if !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
	if got := f.Readable("/etc/machine-id"); got != "" {
		t.Errorf("machine-id is %q, want it empty", got)
	}
}

func TestCleanKeepsAResolverThatAHookWrote(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/resolv.conf": "nameserver 203.0.113.9\n"})
	if err := runStep(t, f, step.Clean{}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/etc/resolv.conf"); got != "nameserver 203.0.113.9\n" {
		t.Errorf("/etc/resolv.conf is %q", got)
	}
}

func TestHookSeesItsDirectoryButKeepsTheToolbox(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		script, dir string
		want        []string
	}{
		{"/home/alice/img/hook.sh", "/home/alice",
			[]string{"/home/alice", "/home/alice/img", "/home/alice/img/hook.sh"}},
		{"/home/alice/hook.sh", "/home/alice", []string{"/home/alice", "/home/alice/hook.sh"}},
		{"/usr/share/vmdebootstrap/examples/h.sh", "/",
			[]string{"/usr/share/vmdebootstrap/examples", "/usr/share/vmdebootstrap/examples/h.sh"}},
		{"/usr/bin/hook", "/etc", []string{"/usr/bin/hook"}},
		{"/hook", "/usr", []string{"/hook"}},
		{"/tmp/hook", "/var/tmp", []string{"/var/tmp", "/tmp", "/tmp/hook"}},
	} {
		var got []string
		for _, m := range (step.Hook{Script: tt.script}).Mounts(tt.dir) {
			got = append(got, m.Destination)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s run in %s: mounts %q, want %q", tt.script, tt.dir, got, tt.want)
		}
	}
}

func TestHookEnvironmentIsTheCallersWithoutItsSession(t *testing.T) {
	t.Parallel()
	caller := []string{
		"SUITE=trixie", "PATH=/home/alice/bin", "XDG_RUNTIME_DIR=/run/user/1000", "LANG=de_DE.UTF-8", "SHLVL=2",
		"CI_JOB_ID=1", "CI_COMMIT_SHA=2",
	}
	got := step.HookEnviron(caller, []string{"PATH=/usr/bin"}, []byte("echo ${CI_COMMIT_SHA}"))
	want := []string{"SUITE=trixie", "CI_COMMIT_SHA=2", "PATH=/usr/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTailKeepsTheLastLines(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	tail := step.NewTail(&all)
	for range step.TailLines + 10 {
		_, _ = io.WriteString(tail, "one\ntw")
		_, _ = io.WriteString(tail, "o\n")
	}
	_, _ = io.WriteString(tail, "end")
	lines := strings.Split(tail.String(), "\n")
	if len(lines) != step.TailLines+1 || lines[step.TailLines] != "end" || lines[step.TailLines-1] != "two" {
		t.Errorf("got %d lines, ending %q", len(lines), lines[len(lines)-2:])
	}
	if got := strings.Count(all.String(), "two\n"); got != step.TailLines+10 {
		t.Errorf("passed %d lines on, want all", got)
	}
}
