// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// The tests of this file build images with the real mirror, with the program started as a user starts it, and boot them
// in QEMU. They share one cache of packages and toolboxes.

// witness is a hook that adds a service which reports the state of the booted system on the serial console. Tests look
// for their own random number in the report, so that no old output counts as success.
const witness = `#!/bin/sh
set -eu
test "$#" = 2
test -f "$1/etc/fstab"
cat > "$1/usr/local/sbin/witness" <<'EOF'
#!/bin/sh
address=none
for i in 1 2 3 4 5 6 7 8 9 10; do
	address=$(ip -4 -o addr show scope global | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1)
	[ -z "$address" ] || break
	sleep 2
done
ssh=$(systemctl is-active ssh 2> /dev/null)
[ "$ssh" != active ] || ssh=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2)
sync # the machine is then stopped
echo "witness NONCE kernel=$(uname -r) address=$address ssh=$ssh" \
	"networkd=$(networkctl --no-legend | grep -c ' configured')" \
	"id=$(cat /etc/machine-id) first=$(grep -c first /var/log/boots) off=$(systemctl is-enabled off.service)" \
	"presets=$(ls /etc/systemd/system-preset 2> /dev/null | grep -c .) host=$(hostname)" \
	"container=$(systemd-detect-virt --container) seed=$(cat /etc/seed 2> /dev/null)" \
	"size=$(df --output=size / | tail -n 1)" \
	"failed=$(systemctl --failed --no-legend | grep -c .)" $(systemctl --failed --no-legend --plain) > /dev/ttyS0
EOF
chmod 755 "$1/usr/local/sbin/witness"
cat > "$1/etc/systemd/system/first.service" <<'EOF'
[Unit]
ConditionFirstBoot=yes

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo first >> /var/log/boots'
EOF
cat > "$1/etc/systemd/system/off.service" <<'EOF'
[Service]
ExecStart=/bin/false

[Install]
WantedBy=multi-user.target
EOF
cat > "$1/etc/systemd/system/witness.service" <<'EOF'
[Unit]
After=systemd-networkd.service NetworkManager.service networking.service ssh.service first.service
After=cloud-init.service cloud-init-network.service
Wants=first.service
Before=getty.target serial-getty@ttyS0.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/witness

[Install]
WantedBy=multi-user.target
EOF
chroot "$1" systemctl enable witness.service
` + slowDevices + `# Names resolve and packages install in here: the manual's hooks do that.
chroot "$1" apt-get install -y --no-install-recommends hello
`

// slowDevices are the lines of a hook: on a busy host it takes more than systemd's 90 seconds until an emulated machine
// has its devices.
const slowDevices = `mkdir -p "$1/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultDeviceTimeoutSec=10min\n' > "$1/etc/systemd/system.conf.d/slow.conf"
`

// slowMachine is a hook of these lines alone.
const slowMachine = "#!/bin/sh\n" + slowDevices

// userData and metaData configure cloud-init.
const (
	userData = "#cloud-config\nwrite_files:\n  - {path: /etc/seed, content: from-user-data}\n"
	metaData = "instance-id: one\nlocal-hostname: from-meta-data\n"
)

// firstBoot is what the witness reports at the first boot of a copy, and its machine ID.
const firstBoot = ` id=([0-9a-f]{32}) first=1 off=disabled presets=0 `

// unlockPrompt matches the question of cryptsetup-initramfs for a passphrase.
const unlockPrompt = "Please unlock disk [^\n]*: "

func TestImageBoots(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []string
	}{
		{"extlinux", []string{"--distribution", "stable"}},
		{"luks", []string{"--luks", "--bootsize", "150Mi", "--boottype", "ext2", "--swap", "256Mi", "--grow"}},
		{"ext3-swap", []string{"--roottype", "ext3", "--swap", "256Mi", "--grow", "--package", "ifupdown", "--cloud-init"}},
		{"squashfs", []string{"--roottype", "squashfs", "--bootsize", "200Mi", "--size", "auto", "--package",
			"openssh-server"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonce := fmt.Sprintf("%s-%d", tt.name, os.Getpid())
			hook := strings.ReplaceAll(witness, "NONCE", nonce)
			if tt.name == "ext3-swap" {
				dir := t.TempDir()
				for name, text := range map[string]string{"user-data": userData, "meta-data": metaData} {
					file := filepath.Join(dir, name)
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					tt.options = append(tt.options, "--"+name, file)
				}
			}
			if tt.name == "luks" {
				secret := filepath.Join(t.TempDir(), "passphrase")
				if err := os.WriteFile(secret, []byte("geheim\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				tt.options = append(tt.options, "--luks-passphrase", secret)
			}
			image := buildImage(t, hook, tt.options...)
			switch tt.name {
			case "luks": // cryptsetup judges the encrypted partition in another test
				diskimagetest.Run(t, "sfdisk", "--verify", image)
			case "extlinux":
				checkImage(t, image)
			case "squashfs": // after /boot; unsquashfs reads all of it
				diskimagetest.Run(t, "unsquashfs", "-no-progress", "-offset", fmt.Sprint(201<<20), "-dest",
					filepath.Join(t.TempDir(), "root"), image)
			default:
				checkPartitions(t, image)
			}
			if tt.name == "ext3-swap" || tt.name == "luks" { // as if the image were copied to a disk of 4 GB
				if err := os.Truncate(image, 4_000_000_000); err != nil {
					t.Fatal(err)
				}
			}
			options := diskimagetest.BootOptions{Args: []string{"-nic", "user,model=virtio-net-pci"}, Timeout: 10 * time.Minute}
			again := options
			options.Keep = tt.name == "extlinux" // the second boot is of the same copy
			if tt.name == "luks" {
				options.Session = []diskimagetest.Exchange{{Want: unlockPrompt, Send: "geheim\n"}}
			}
			console := diskimagetest.Boot(t, image, options)
			report := "witness " + nonce + ` .*address=10\.0\.2\.15 `
			wantOnConsole(t, console, "SYSLINUX", report+".*networkd=1"+firstBoot+".*failed=0")
			switch tt.name {
			case "luks":
				wantOnConsole(t, console, "witness "+nonce+` .*size= *3[0-9]{6} `, "Adding [0-9]+k swap on /dev/mapper/swap_crypt")
			case "ext3-swap":
				wantOnConsole(t, console, "witness "+nonce+` .*size= *3[0-9]{6} `, // KiB
					"witness "+nonce+` .*host=from-meta-data .*seed=from-user-data `)
			case "extlinux":
				id := regexp.MustCompile(firstBoot).FindStringSubmatch(console)
				if id == nil {
					t.FailNow()
				}
				wantOnConsole(t, diskimagetest.Boot(t, image, again), report+".* id="+id[1]+" first=1 off=disabled .*failed=0")
			case "squashfs": // whose image has no keys, as TestCopiesOfAnImageShareNoKeys knows
				wantOnConsole(t, console, "witness "+nonce+` .* ssh=SHA256:\S+ networkd=1`)
			}
		})
	}
}

// buildImage builds an image of 2 GB with a serial console and a hook, and returns its name.
func buildImage(t *testing.T, hook string, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	image, script := filepath.Join(dir, "debian.img"), filepath.Join(dir, "hook.sh")
	if err := os.WriteFile(script, []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--image", image, "--size", "2G", "--serial-console", "--customize", script, "--verbose"},
		options...)
	mounts := readFile(t, "/proc/mounts")
	cmd := vmdebootstrap(t, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	t.Logf("vmdebootstrap %s:\n%s", strings.Join(args, " "), out)
	if err != nil {
		t.Fatal(err)
	}
	if after := readFile(t, "/proc/mounts"); after != mounts {
		t.Errorf("the host's mounts changed:\n%s", after)
	}
	return image
}

// wantOnConsole reports each regular expression that does not match on the console.
func wantOnConsole(t *testing.T, console string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(console) {
			t.Errorf("the console never showed %q; its end is\n%s", want, console[max(0, len(console)-2000):])
		}
	}
}

// checkImage checks the size, mode and sparseness of an image, its partition table and its file system.
func checkImage(t *testing.T, image string) {
	t.Helper()
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 2_000_000_000 {
		t.Errorf("%s is %d bytes long, want 2000000000", image, info.Size())
	}
	if got := info.Mode().Perm(); got != 0o644 {
		t.Errorf("%s has mode %o, want 644", image, got)
	}
	if blocks := allocated(t, image); blocks > info.Size()*3/4 {
		t.Errorf("%s takes %d bytes on disk: it is not sparse", image, blocks)
	}
	diskimagetest.Run(t, "sfdisk", "--verify", image)
	diskimagetest.Fsck(t, image, 1<<20, (info.Size()>>20-1)<<20)
}

// allocated returns the number of bytes that a file occupies on disk.
func allocated(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512 // the unit of st_blocks, whatever the file system's block size is
}
