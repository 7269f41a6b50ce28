// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os/user"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// testWorld is an amd64 machine on which trixie is stable.
func testWorld() World {
	files := fstest.MapFS{
		"work/hook.sh":              {Mode: 0o755},
		"work/plain.sh":             {Mode: 0o644},
		"work/local_1_all.deb":      {},
		"work/notes.txt":            {},
		"work/old.img":              {},
		"work/live":                 {Mode: fs.ModeDir | 0o755},
		"work/sda":                  {Mode: fs.ModeDevice},
		"work/scripts/distant":      {},
		"work/scripts/trixie/inner": {},
		"work/qemu-aarch64-static":  {},
	}
	return World{
		Stat: func(name string) (fs.FileInfo, error) {
			name = strings.TrimPrefix(name, "/")
			if name == "." || !strings.HasPrefix(name, "work") {
				name = strings.TrimSuffix("work/"+name, "/.")
			}
			return files.Stat(name)
		},
		LookupUser: func(name string) (*user.User, error) {
			if name == "joe" {
				return &user.User{Username: name, Uid: "1001"}, nil
			}
			return nil, user.UnknownUserError(name)
		},
		Dir:      "/work",
		Today:    time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		HostArch: "amd64",
	}
}

// options returns the defaults for a dry run of a disk image, changed.
func options(change func(*Options)) Options {
	o := DefaultOptions()
	o.Image, o.DryRun = "new.img", true
	if change != nil {
		change(&o)
	}
	return o
}

// mustSpec makes a Spec of what is right.
func mustSpec(t *testing.T, change func(*Options)) Spec {
	t.Helper()
	s, err := NewSpec(options(change), testWorld())
	if err != nil {
		t.Fatalf("NewSpec: %v", err)
	}
	return s
}

func TestNewSpecTakesWhatIsRight(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"defaults":            nil,
		"image that is there": func(o *Options) { o.Image = "old.img" },
		"tarball":             func(o *Options) { o.Image, o.Tarball = "", "new.tar" },
		"arm64 tarball without a kernel": func(o *Options) {
			o.Image, o.Tarball, o.Arch, o.NoKernel = "", "new.tar", "arm64", true
		},
		"new ISO image":        func(o *Options) { o.Image, o.ISO = "", "live.iso" },
		"ISO image of arm64":   func(o *Options) { o.Image, o.ISO, o.Arch = "", "live.iso", "arm64" },
		"new squash directory": func(o *Options) { o.Image, o.Squash = "", "FOO" },
		"old squash directory": func(o *Options) { o.Image, o.Squash = "", "live" },
		"arm64 container image": func(
			o *Options) {
			o.Image, o.Arch, o.Exports = "", "arm64", []Export{{Transport: "dir", Path: "x"}}
		},
		"keyring": func(
			o *Options) {
			o.Debootstrapopts = []string{"keyring=notes.txt include=a,b exclude=c no-check-gpg"}
		},
		"squash of arm64":        func(o *Options) { o.Image, o.Squash, o.Arch = "", "FOO", "arm64" },
		"arm64 with UEFI":        func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "arm64" },
		"foreign without a look": func(o *Options) { o.Arch, o.Foreign = "armhf", "PATH" },
		"jessie":                 func(o *Options) { o.Distribution = "jessie" },
		"Ubuntu":                 func(o *Options) { o.Distribution = "xenial" },
		"oldoldstable":           func(o *Options) { o.Distribution = "oldoldstable" },
		"100 MiB":                func(o *Options) { o.Size = 100 * diskimage.MiB },
		"apt mirror": func(
			o *Options) {
			o.ConfigureApt, o.AptMirror = true, secret.NewURL("https://mirror.example/debian")
		},
		"local mirror":           func(o *Options) { o.Mirror = secret.NewURL("file:///work/live") },
		"copied mirror":          func(o *Options) { o.Mirror = secret.NewURL("copy:/work/live/") },
		"qcow2":                  func(o *Options) { o.ConvertQcow2 = true },
		"btrfs with grub":        func(o *Options) { o.Roottype, o.Grub = "btrfs", true },
		"btrfs beside /boot":     func(o *Options) { o.Roottype, o.Bootsize = "btrfs", 100*diskimage.MB },
		"FAT /boot of extlinux":  func(o *Options) { o.Bootsize, o.Boottype = 100*diskimage.MB, "msdos" },
		"btrfs without extlinux": func(o *Options) { o.Roottype, o.Extlinux = "btrfs", false },
		"wheezy on ext3":         func(o *Options) { o.Distribution, o.Roottype = "wheezy", "ext3" },
		"wheezy ignores networkd": func(o *Options) {
			o.Distribution, o.Roottype, o.SystemdNetworkd, o.UpdateInitramfs = "wheezy", "ext3", false, false
		},
		"the usual ESP without UEFI": func(o *Options) { o.ESPSize = 5242880 },
		"hybrid": func(
			o *Options) {
			o.Boot, o.Bootsize, o.Bootoffset = "hybrid", 100*diskimage.MB, diskimage.MiB
		},
		"hybrid with both": func(
			o *Options) {
			o.Boot, o.Grub, o.UseUEFI, o.ESPSize = "hybrid", true, true, 200*diskimage.MB
		},
		"GRUB and UEFI by --boot": func(o *Options) { o.Boot, o.UseUEFI, o.Arch = "grub", true, "arm64" },
		"systemd-boot": func(
			o *Options) {
			o.Boot, o.UseUEFI, o.PartType, o.Arch = "systemd-boot", true, "gpt", "arm64"
		},
		"arm64 without a loader":    func(o *Options) { o.Boot, o.Arch = "none", "arm64" },
		"btrfs with another loader": func(o *Options) { o.Roottype, o.Boot = "btrfs", "grub" },
		"xfs with grub":             func(o *Options) { o.Roottype, o.Grub = "xfs", true },
		"xfs on /boot": func(
			o *Options) {
			o.Boottype, o.Grub, o.Bootsize = "xfs", true, 400*diskimage.MiB
		},
		"f2fs with grub":    func(o *Options) { o.Roottype, o.Grub = "f2fs", true },
		"f2fs with UEFI":    func(o *Options) { o.Roottype, o.Grub, o.UseUEFI = "f2fs", true, true },
		"f2fs beside /boot": func(o *Options) { o.Roottype, o.Bootsize = "f2fs", 100*diskimage.MB },
		"f2fs on /boot": func(
			o *Options) {
			o.Boottype, o.Grub, o.Bootsize = "f2fs", true, 200*diskimage.MiB
		},
		"squashfs beside /boot": func(o *Options) { o.Roottype, o.Bootsize = "squashfs", 200*diskimage.MiB },
		"erofs in a UKI": func(
			o *Options) {
			o.Roottype, o.Boot, o.PartType = "erofs", "systemd-boot", "gpt"
		},
		"erofs without a loader": func(o *Options) { o.Roottype, o.Extlinux = "erofs", false },
		"root that grows":        func(o *Options) { o.Grow, o.Swap = true, 1 },
		"small swap":             func(o *Options) { o.Swap = 1 },
		"hook":                   func(o *Options) { o.Actions = []Action{Script("hook.sh")} },
		"local package":          func(o *Options) { o.CustomPackages = []string{"local_1_all.deb"} },
		"host name with domain":  func(o *Options) { o.Hostname = "a1.example.org" },
		"users": func(o *Options) {
			o.Users = []step.User{step.ParseUser("joe"), step.ParseUser("ann/x/y"), step.ParseUser("bob/")}
		},
		"owner":                    func(o *Options) { o.Owner = "joe" },
		"boot flag":                func(o *Options) { o.Bootflag = "lba" },
		"names with a comma":       func(o *Options) { o.Packages = []string{"vim, less,"} },
		"script of a suite":        func(o *Options) { o.DebootstrapScripts, o.Distribution = "scripts", "distant" },
		"i386 with a named kernel": func(o *Options) { o.Arch, o.KernelPackage = "i386", "linux-image-mine" },
		"i386 without a kernel":    func(o *Options) { o.Arch, o.NoKernel = "i386", true },
	} {
		if _, err := NewSpec(options(change), testWorld()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpecSharesNoMemoryWithItsOptions(t *testing.T) {
	t.Parallel()
	o := options(func(o *Options) {
		o.Packages, o.Users = []string{"vim"}, []step.User{step.ParseUser("joe")}
		o.Actions, o.Debootstrapopts = []Action{Script("hook.sh")}, []string{"variant=minbase"}
		o.CustomPackages = []string{"local_1_all.deb"}
	})
	s, err := NewSpec(o, testWorld())
	if err != nil {
		t.Fatal(err)
	}
	want := s.Options()
	got := s.Options()
	for _, list := range [][]string{o.Packages, o.Debootstrapopts, o.CustomPackages,
		got.Packages, got.Debootstrapopts, got.CustomPackages} {
		list[0] = "changed"
	}
	o.Actions[0], got.Actions[0] = Action{}, Action{}
	o.Users[0], got.Users[0] = step.User{}, step.User{}
	if now := s.Options(); !reflect.DeepEqual(now, want) {
		t.Errorf("got %+v, want %+v", now, want)
	}
}

// TestOptionsCloneCopiesEverySlice fails when a new field of Options is forgotten in clone.
func TestOptionsCloneCopiesEverySlice(t *testing.T) {
	t.Parallel()
	var o Options
	v := reflect.ValueOf(&o).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
	}
	c := reflect.ValueOf(o.clone())
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Pointer() == c.Field(i).Pointer() {
			t.Errorf("clone shares %s", v.Type().Field(i).Name)
		}
	}
}

func TestNewSpecOfItsOwnOptionsIsTheSame(t *testing.T) {
	t.Parallel()
	first := mustSpec(t, func(o *Options) { o.Actions, o.Swap = []Action{Script("hook.sh")}, 1 })
	second, err := NewSpec(first.Options(), testWorld())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first.Options(), second.Options()) {
		t.Errorf("got %+v, want %+v", second.Options(), first.Options())
	}
}

func TestNewSpecFillsTheGaps(t *testing.T) {
	t.Parallel()
	s := mustSpec(t, func(o *Options) { o.Actions, o.Swap = []Action{Script("hook.sh")}, 1 })
	o := s.Options()
	if o.Arch != "amd64" {
		t.Errorf("arch: got %q, want the host's", o.Arch)
	}
	if o.Mirror != debianMirror {
		t.Errorf("mirror: got %q, want %q", o.Mirror, debianMirror)
	}
	if o.Swap != 256*diskimage.MiB {
		t.Errorf("swap: got %s, want the least that is made, 256MiB", o.Swap)
	}
	if want := []Action{Script("/work/hook.sh")}; !slices.Equal(o.Actions, want) {
		t.Errorf("actions: got %v, want %v", o.Actions, want)
	}
	if s.Codename() != "trixie" {
		t.Errorf("codename: got %q, want trixie", s.Codename())
	}
}

func TestDefaultMirrorFitsTheRelease(t *testing.T) {
	t.Parallel()
	const host = "http://mirror.example/debian"
	for _, test := range []struct{ suite, arch, host, given, want string }{
		{"trixie", "amd64", "", "", debianMirror.Reveal()},
		{"trixie", "amd64", host, "", host},
		{"trixie", "amd64", host, "http://other.example/", "http://other.example/"},
		{"noble", "amd64", host, "", ubuntuMirror.Reveal()},
		{"noble", "riscv64", host, "", ubuntuPortsMirror.Reveal()},
		{"questing", "amd64", host, "", ubuntuOldMirror.Reveal()},
		{"questing", "riscv64", "", "", ubuntuOldMirror.Reveal()},
		{"focal", "amd64", host, "", ubuntuMirror.Reveal()}, // there is support for it that is paid for
		{"questing", "amd64", host, "http://other.example/", "http://other.example/"},
	} {
		w := testWorld()
		w.HostMirror = secret.NewURL(test.host)
		s, err := NewSpec(options(func(o *Options) {
			o.Distribution, o.Arch, o.Mirror = test.suite, test.arch, secret.NewURL(test.given)
		}), w)
		if err != nil {
			t.Errorf("%s: %v", test.suite, err)
			continue
		}
		if got := s.Options().Mirror.Reveal(); got != test.want {
			t.Errorf("%s %s: got %q, want %q", test.suite, test.arch, got, test.want)
		}
	}
}

func TestWarningsNameOpenDoors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   []string
	}{
		{"default", nil, []string{"--root-password"}},
		{"locked", func(o *Options) { o.LockRootPassword = true }, nil},
		{"password", func(o *Options) { o.RootPassword = secret.New("x") }, nil},
		{"both", func(o *Options) { o.RootPassword, o.LockRootPassword = secret.New("x"), true },
			[]string{"no effect"}},
		{"user", func(o *Options) { o.LockRootPassword, o.Users = true, []step.User{step.ParseUser("joe")} },
			[]string{"joe"}},
		{"live system without signed GRUB", func(o *Options) {
			o.LockRootPassword, o.Image, o.Squash, o.Grub, o.UseUEFI, o.Arch = true, "", "FOO", true, true, "riscv64"
		}, []string{"no efi directory"}},
		{"lock of btrfs", func(o *Options) {
			o.LockRootPassword, o.LockFile, o.Roottype, o.Grub = true, "x.lock", "btrfs", true
		}, []string{"two images with btrfs differ"}},
		{"lock of xfs", func(o *Options) {
			o.LockRootPassword, o.LockFile, o.Roottype, o.Grub = true, "x.lock", "xfs", true
		}, []string{"images with xfs of two machines can differ"}},
		{"lock of ext4", func(o *Options) { o.LockRootPassword, o.LockFile = true, "x.lock" }, nil},
		{"no signatures", func(o *Options) {
			o.LockRootPassword, o.Debootstrapopts = true, []string{"no-check-gpg"}
		}, []string{"this build alone"}},
		{"old release", func(o *Options) { o.LockRootPassword, o.Distribution = true, "buster" },
			[]string{"2024-06-30"}},
		{"no boot loader", func(o *Options) { o.LockRootPassword, o.Arch = true, "armhf" },
			[]string{"armhf has no extlinux: use --grub with --use-uefi, or --raw"}},
		{"no boot loader at all", func(o *Options) { o.LockRootPassword, o.Arch = true, "s390x" },
			[]string{"s390x has no extlinux: use --raw"}},
		{"none is meant", func(o *Options) { o.LockRootPassword, o.Arch, o.Extlinux = true, "armhf", false }, nil},
		{"options of a disk with a tarball", func(o *Options) {
			o.LockRootPassword, o.Image, o.Tarball = true, "", "x.tar"
			o.Swap, o.Bootsize = 300*diskimage.MB, 200*diskimage.MB
		}, []string{"--swap has no effect", "--bootsize has no effect"}},
	} {
		got := mustSpec(t, test.change).Warnings()
		if len(got) != len(test.want) {
			t.Errorf("%s: got %q, want %d", test.name, got, len(test.want))
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], test.want[i]) {
				t.Errorf("%s: got %q, want it to name %q", test.name, got[i], test.want[i])
			}
		}
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	const password = "geheim"
	o := Options{RootPassword: secret.New(password), Users: []step.User{step.ParseUser("joe/" + password)}}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o), fmt.Sprintf("%q %s %x", o.RootPassword, o.Users,
			o.RootPassword),
		string(data), o.Users[0].String(), o.RootPassword.LogValue().String(),
	} {
		if strings.Contains(text, password) || strings.Contains(text, fmt.Sprintf("%x", password)) {
			t.Errorf("the password shows in %s", text)
		}
	}
	if got := o.RootPassword.Reveal(); got != password {
		t.Errorf("Reveal: got %q, want %q", got, password)
	}
}

func TestMistakesDoNotShowPasswords(t *testing.T) {
	t.Parallel()
	const password = "geheim"
	_, err := NewSpec(options(func(o *Options) {
		o.Users = []step.User{step.ParseUser("joe:" + password), step.ParseUser("/" + password),
			step.ParseUser("root/" + password)}
		o.RootPassword = secret.New(password + "\n")
		o.Mirror = secret.NewURL("http://joe:" + password + "@[bad/")
		o.AptMirror = secret.NewURL("//joe:" + password + "@mirror.example")
	}), testWorld())
	if err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("the password shows in %v", err)
	}
}

func TestParseUserSplitsAtTheFirstSlash(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]step.User{
		"joe":      {Name: "joe"},
		"joe/":     {Name: "joe", HasPassword: true},
		"joe/pw":   {Name: "joe", HasPassword: true, Password: secret.New("pw")},
		"joe/p/w/": {Name: "joe", HasPassword: true, Password: secret.New("p/w/")},
	} {
		if got := step.ParseUser(text); got != want {
			t.Errorf("ParseUser(%q): got %#v, want %#v", text, got, want)
		}
	}
}

// TestExtlinuxIsForPCs: it is the default, and boot code for a PC must not get onto the disk of a board by itself.
func TestExtlinuxIsForPCs(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]boot.Loader{"amd64": boot.Extlinux{}, "i386": boot.Extlinux{},
		"armhf": boot.None{}, "riscv64": boot.None{}} {
		s := mustSpec(t, func(o *Options) { o.Arch, o.KernelPackage = arch, "linux-image-mine" })
		if got := s.loader; got != want {
			t.Errorf("%s: got %s, want %s", arch, got, want)
		}
	}
}
