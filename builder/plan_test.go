// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/plans")

// planned are the configurations whose plans are kept in testdata/plans, so that a change shows which images
// it changes.
var planned = map[string]func(*Options){
	"default": func(*Options) {},
	"grub-bookworm": func(o *Options) {
		o.Grub, o.Distribution, o.SerialConsole, o.Sudo = true, "bookworm", true, true
		o.RootPassword = secret.New("s3cret")
		o.Users = []step.User{{Name: "alice", Password: secret.New("s3cret"), HasPassword: true}}
	},
	"ifupdown-bullseye": func(o *Options) {
		o.Distribution, o.SystemdNetworkd, o.EnableDHCP, o.LockRootPassword = "bullseye", false, true, true
		o.ConfigureApt, o.AptMirror = true, secret.NewURL("http://mirror.example/debian")
		o.Packages, o.Recommends = []string{"less", "vim-tiny"}, true
		o.Debootstrapopts = []string{"variant=minbase components=main,contrib"}
	},
	"uefi-swap": func(o *Options) { o.Grub, o.UseUEFI, o.Swap, o.SerialConsole = true, true, 512*diskimage.MiB, true },
	"hybrid-boot": func(o *Options) {
		o.Boot, o.Bootsize, o.Boottype, o.PartType = "hybrid", 200*diskimage.MiB, "ext4", "gpt"
	},
	"tarball": func(o *Options) {
		o.Image, o.Tarball, o.NoKernel, o.NoAcpid, o.UpdateInitramfs = "", "/out/debian.tar.gz", true, true, false
		o.Roottype = "ext3"
	},
	"live": func(o *Options) { o.Image, o.Squash, o.LockRootPassword = "", "/out/live", true },
	"iso": func(o *Options) {
		o.Image, o.ISO, o.ISOLabel, o.ISOPersistence, o.SerialConsole = "", "/out/live.iso", "My-Live_1.0", true, true
		o.Packages = []string{"live-config", "live-config-systemd"}
	},
	"iso-arm64": func(o *Options) { o.Image, o.ISO, o.Arch = "", "/out/live.iso", "arm64" },
	"auto-formats": func(o *Options) {
		o.SizeAuto, o.Free, o.Formats, o.Compress, o.Bmap = true, Space{Bytes: diskimage.GB}, []string{"raw,qcow2"},
			"zstd", true
		o.PartType, o.Grub, o.Swap, o.Bootoffset = "gpt", true, diskimage.GiB, 8*diskimage.MiB
		o.Blobs = []Blob{{File: "/usr/lib/u-boot/spl.bin", Rootfs: true, Offset: diskimage.MiB}}
	},
	"boot-vfat-gpt": func(o *Options) {
		o.Bootsize, o.Boottype, o.PartType, o.SerialConsole = 200*diskimage.MiB, "msdos", "gpt", true
	},
	"boot-mount": func(o *Options) {
		o.Bootsize, o.Boottype, o.BootMount, o.Boot, o.Arch = 200*diskimage.MiB, "vfat", "/boot/firmware", "none", "arm64"
	},
	"u-boot": func(o *Options) {
		o.Boot, o.Arch, o.DTB, o.SerialConsole = "u-boot", "armhf", "sun7i-a20-cubietruck.dtb", true
		o.Bootoffset, o.Packages = 4*diskimage.MiB, []string{"u-boot-sunxi"}
		o.Blobs = []Blob{{File: "/usr/lib/u-boot/Cubietruck/u-boot-sunxi-with-spl.bin", Rootfs: true,
			Offset: 8 * diskimage.KiB}}
	},
	"u-boot-vfat": func(o *Options) {
		o.Boot, o.Arch, o.PartType, o.Distribution = "u-boot", "riscv64", "gpt", "trixie"
		o.Bootsize, o.Boottype, o.Roottype = 250*diskimage.MiB, "vfat", "btrfs"
	},
	"uefi-armhf":   func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "armhf" },
	"uefi-riscv64": func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.PartType = true, true, "riscv64", "gpt" },
	"systemd-boot": func(o *Options) {
		o.Boot, o.PartType, o.SerialConsole = "systemd-boot", "gpt", true
	},
	"systemd-boot-armhf":   func(o *Options) { o.Boot, o.PartType, o.Arch = "systemd-boot", "gpt", "armhf" },
	"systemd-boot-riscv64": func(o *Options) { o.Boot, o.PartType, o.Arch = "systemd-boot", "gpt", "riscv64" },
	"luks": func(o *Options) {
		o.LUKS, o.LUKSPassphrase, o.LUKSRecoveryKey = true, secret.New("s3cret"), secret.New("s3cret-s3cret")
		o.Bootsize, o.Grow, o.Swap, o.SerialConsole = 512*diskimage.MiB, true, 512*diskimage.MiB, true
		o.Distribution = "trixie"
	},
	"luks-systemd-boot": func(o *Options) {
		o.LUKS, o.LUKSPassphrase, o.LUKSKeyFile = true, secret.New("s3cret"), secret.New("s3cret file")
		o.Boot, o.PartType, o.Roottype, o.SizeAuto = "systemd-boot", "gpt", "btrfs", true
	},
	"luks-tpm2": func(o *Options) {
		o.LUKS, o.LUKSPassphrase, o.LUKSTPM2 = true, secret.New("s3cret"), true
		o.Boot, o.PartType, o.Distribution = "systemd-boot", "gpt", "trixie"
	},
	"verity": func(o *Options) {
		o.Verity, o.Boot, o.PartType, o.Swap = true, "systemd-boot", "gpt", 512*diskimage.MiB
	},
	"verity-squashfs": func(o *Options) {
		o.Verity, o.Boot, o.PartType, o.Roottype, o.SizeAuto = true, "systemd-boot", "gpt", "squashfs", true
	},
	"ab": func(o *Options) {
		o.AB, o.ImageVersion, o.ABArtifacts = "https://updates.example/kiosk", "1", "/out/updates"
		o.Boot, o.PartType, o.Roottype, o.SizeAuto, o.Verity = "systemd-boot", "gpt", "erofs", true, true
		o.ABKey, o.Hostname, o.Swap = "/hooks/updates.gpg", "kiosk", 512*diskimage.MiB
	},
	"ab-squashfs": func(o *Options) {
		o.AB, o.ImageVersion, o.Hostname = "/srv/updates", "2026.11", "Kiosk"
		o.Boot, o.PartType, o.Roottype, o.Size = "systemd-boot", "gpt", "squashfs", 4*diskimage.GB
	},
	"xfs-grow-bullseye": func(o *Options) {
		o.Distribution, o.Roottype, o.Grub, o.Grow, o.Swap = "bullseye", "xfs", true, true, 512*diskimage.MiB
	},
	"btrfs-grow-gpt": func(o *Options) {
		o.Roottype, o.Grub, o.Grow, o.PartType, o.Swap = "btrfs", true, true, "gpt", 512*diskimage.MiB
	},
	"f2fs-boot": func(o *Options) {
		o.Roottype, o.Grub, o.Bootsize, o.Boottype = "f2fs", true, 300*diskimage.MiB, "f2fs"
	},
	"ca":           func(o *Options) { o.CA, o.NoKernel = "/hooks/ca.crt", true },
	"tools-mirror": func(o *Options) { o.ToolsMirror, o.NoKernel = secret.NewURL("http://tools.example/debian"), true },
	"bootstrap":    func(o *Options) { o.Bootstrap, o.NoKernel = "debootstrap", true },
	"pockets": func(o *Options) {
		o.Pockets, o.NoKernel, o.ConfigureApt = []string{"security,updates", "backports"}, true, true
		o.SecurityMirror = secret.NewURL("http://joe:pw@security.example/debian-security/")
	},
	"login": func(o *Options) {
		o.Users, o.SSHKeys = []step.User{{Name: "alice"}, {Name: "bob"}}, []string{"/hooks/id.pub", "/hooks/team.pub"}
		o.AuthorizedKeys = []AuthorizedKeys{{"root", "/hooks/team.pub"}, {"bob", "/hooks/bob.pub"}}
		o.PasswordHashes = []PasswordHash{{"root", secret.New("$y$j9T$s3cret$x")}, {"bob", secret.New("$6$s3cret$x")}}
		o.Timezone, o.Locale, o.Keymap = "Europe/Berlin", "de_DE.UTF-8", "de:nodeadkeys"
	},
	"ubuntu": func(o *Options) {
		o.Distribution, o.ConfigureApt, o.AptMirror = "resolute", true, secret.NewURL("http://mirror.example/ubuntu")
		o.Pockets, o.KernelPackage, o.Grub, o.UseUEFI = []string{"updates,security"}, "linux-image-virtual", true, true
	},
	"cloud-init": func(o *Options) {
		o.CloudInit, o.UserData, o.NetworkConfig = true, "/hooks/user-data", "/hooks/network"
	},
	"kvm-cloud": func(o *Options) {
		o.CloudInit, o.Boot, o.PartType, o.Grow, o.SerialConsole, o.LockRootPassword = true, "hybrid", "gpt", true, true, true
	},
	"repository": func(o *Options) {
		o.Repositories, _ = ParseRepositories("https://joe:pw@repo.example/apt stable main extra")
		o.RepositoryKeys, o.AptPreferences, o.NoKernel = []string{"/hooks/key.asc"}, "/hooks/pins", true
		o.DpkgArches, o.Packages = []string{"i386"}, []string{"libc6:i386"}
	},
	"snapshot": func(o *Options) {
		o.Snapshot, o.Pockets, o.NoKernel = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), []string{"backports"}, true
		o.Mirror, o.SnapshotMirror = secret.NewURL("http://mirror.example/debian/"), secret.NewURL("http://old.example/")
	},
	"allow-expired": func(o *Options) { o.AllowExpired, o.NoKernel = true, true },
	"manifest": func(o *Options) {
		o.Manifest, o.SBOMs, o.NoKernel = "/out/manifest.json", []SBOM{{"spdx", "/out/sbom.spdx.json"}}, true
	},
	"report":        func(o *Options) { o.Report, o.NoKernel = "/out/debian.html", true },
	"lock-file":     func(o *Options) { o.LockFile, o.NoKernel = "/out/debian.lock", true },
	"provenance":    func(o *Options) { o.Provenance, o.NoKernel = "/out/debian.intoto.json", true },
	"keep-identity": func(o *Options) { o.KeepIdentity, o.Packages = true, []string{"openssh-server"} },
	"squashfs":      func(o *Options) { o.Roottype, o.Bootsize, o.SerialConsole = "squashfs", 200*diskimage.MiB, true },
	"erofs-systemd-boot": func(o *Options) {
		o.Roottype, o.Boot, o.PartType = "erofs", "systemd-boot", "gpt"
	},
	"containerfile": func(o *Options) {
		o.Image, o.Tarball, o.NoKernel, o.UpdateInitramfs = "", "/out/debian.tar", true, false
		o.Actions = []Action{{Phase: hooks.PhaseCustomize, Kind: ActionContainerfile, Text: "/hooks/Containerfile"}}
		o.BuildArgs = []string{"VERSION=2"}
		o.BuildSecrets = []BuildSecret{{ID: "token", Text: secret.New("s3cret")}}
	},
	"qcow2-ext3": func(o *Options) { o.ConvertQcow2, o.Roottype, o.Extlinux = true, "ext3", false },
}

const plannedContainerfile = `FROM rootfs AS tools
RUN --mount=type=cache,target=/var/cache/make,mode=700 --mount=type=secret,id=token make tools
FROM scratch AS data
COPY --from=tools /out /
FROM rootfs
COPY --from=data --exclude=*.md / /opt/tools
ARG VERSION=1
ENV PATH=/opt/bin:$PATH
WORKDIR /opt
COPY --chown=www-data --chmod=750 *.sh tools/ bin/
ADD data.tar.xz <<E /opt/data/
version $VERSION
E
RUN apt-get update && \
    apt-get install -y nginx
USER www-data
SHELL ["/bin/bash", "-c"]
RUN <<E
#!/usr/bin/python3
print("x")
E
EXPOSE 80
`

// plannedKey is a public key for --ab-key.
const plannedKey = `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawyyWhYJKwYBBAHaRw8BAQdAKND+BUkc/K83dNQ31qbdaaHhJXrAG377ws5f
7uPU1QG0B3VwZGF0ZXOIkAQTFggAOBYhBMDIMg1bcm5Lnt0Il96Iq64skzvaBQJr
DLJaAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEN6Iq64skzvaLSAA/jh+
wlpuPl3GF8dkkOq00fsqERmIG6/HaDCPIi4vdI8JAPwL5z2PweaI8GsG9iS8QBQi
ughTmx5q4o9/QQEEln4JCg==
=SBX3
-----END PGP PUBLIC KEY BLOCK-----
`

// testSpec checks options in a world where scripts are in /hooks and /out is there for what is built.
func testSpec(t *testing.T, change func(*Options)) Spec {
	t.Helper()
	o := DefaultOptions()
	o.Image, o.Size, o.Mirror, o.Arch = "/out/debian.img", 2*diskimage.GB,
		secret.NewURL("http://build.example/debian"), "amd64"
	change(&o)
	spec, err := NewSpec(o, World{
		Stat: func(name string) (os.FileInfo, error) {
			switch {
			case name == "/out":
				return os.Stat(t.TempDir())
			case strings.HasPrefix(name, "/hooks/"):
				return os.Stat("/proc/self/exe")
			}
			return nil, os.ErrNotExist
		},
		ReadFile: func(name string) ([]byte, error) {
			switch name {
			case "/hooks/Containerfile":
				return []byte(plannedContainerfile), nil
			case "/hooks/id.pub", "/hooks/team.pub", "/hooks/bob.pub":
				return []byte(testSSHKey), nil
			case "/hooks/updates.gpg":
				return []byte(plannedKey), nil
			case "/hooks/user-data":
				return []byte("#cloud-config\n"), nil
			}
			return nil, os.ErrNotExist
		},
		Dir:   "/out",
		Today: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), HostArch: "amd64",
	})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func testPlan(t *testing.T, change func(*Options)) Plan {
	t.Helper()
	spec := testSpec(t, change)
	plan, err := NewPlan(spec, Lock{Codename: spec.Codename(),
		Seed: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11"), Time: time.Unix(1_700_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlansAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	for name, change := range planned {
		var got bytes.Buffer
		plan := testPlan(t, change)
		if err := plan.Print(&got); err != nil {
			t.Fatal(err)
		}
		all := plan.Steps
		for _, stage := range plan.Stages {
			all = slices.Concat(all, stage.own())
		}
		for _, s := range all {
			data, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(s.Kind() + " " + string(data) + "\n")
		}
		if strings.Contains(got.String(), "s3cret") {
			t.Errorf("%s: a password is in the plan", name)
		}
		file := filepath.Join("testdata", "plans", name+".plan")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: the plan is\n%s\nwant\n%s\n(go test -run Golden -update rewrites it)", name, &got, want)
		}
	}
}

// TestStepsArePlainData keeps out of steps what has no place in their JSON, or another one each time.
func TestStepsArePlainData(t *testing.T) {
	t.Parallel()
	var check func(where string, typ reflect.Type)
	check = func(where string, typ reflect.Type) {
		switch {
		case typ == reflect.TypeFor[secret.Text](), typ == reflect.TypeFor[secret.URL]():
		case typ == reflect.TypeFor[time.Time]():
			t.Errorf("%s is a time", where)
		case typ.Kind() == reflect.Struct:
			for i := range typ.NumField() {
				field := typ.Field(i)
				if !field.IsExported() && (!field.Anonymous || field.Type.NumField() != 0) {
					t.Errorf("%s.%s is not exported", where, field.Name)
				}
				check(where+"."+field.Name, field.Type)
			}
		case typ.Kind() == reflect.Slice:
			check(where, typ.Elem())
		case typ.Kind() == reflect.Func, typ.Kind() == reflect.Map, typ.Kind() == reflect.Interface:
			t.Errorf("%s is a %s", where, typ.Kind())
		case typ.Kind() == reflect.Pointer:
			check(where, typ.Elem())
		}
	}
	for _, change := range planned {
		for _, s := range testPlan(t, change).Steps {
			check(s.Kind(), reflect.TypeOf(s))
		}
	}
	for _, s := range []step.Step{step.CustomPackages{}, step.Inittab{}, step.Hook{}, step.ContainerRun{}} {
		check(s.Kind(), reflect.TypeOf(s))
	}
}

func TestSameSeedGivesTheSamePlan(t *testing.T) {
	t.Parallel()
	for name, change := range planned {
		if a, b := testPlan(t, change), testPlan(t, change); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: two plans of one Spec and Lock differ", name)
		}
	}
}

func TestBuildTakesOverTheIDsThatASnapshotHoldsOn(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(*Options) {})
	own, other := testLock(), uuid.MustParse("99999999-2222-3333-4444-555555555555")
	for name, tt := range map[string]struct {
		done  int // how many steps need not run
		fixed bool
		want  uuid.UUID
	}{
		"all of it":            {100, false, other},
		"a fixed seed":         {100, true, own.Seed},
		"no IDs in the prefix": {1, false, own.Seed},
		"nothing":              {0, false, own.Seed},
	} {
		lock := own
		lock.SeedFixed = tt.fixed
		plan, err := NewPlan(spec, lock)
		if err != nil {
			t.Fatal(err)
		}
		begin := snapshot.Start{Entries: make([]snapshot.Entry, min(tt.done, len(plan.Steps))), Seed: other}
		if tt.done > 0 {
			begin.Snapshot = "snapshot"
		}
		resumed, seed, err := plan.resumed(spec, lock, begin)
		if err != nil || seed != tt.want {
			t.Errorf("%s: got seed %s (%v), want %s", name, seed, err, tt.want)
		}
		if got, want := resumed.Disk.Layout.ID, diskID(tt.want); got != want {
			t.Errorf("%s: the disk has ID %s, want %s", name, got, want)
		}
	}
}

// TestDigestsAreMadeOfStepsWithoutRandomIDs: with another seed the same snapshots are found, but if the seed is fixed.
func TestDigestsAreMadeOfStepsWithoutRandomIDs(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(*Options) {})
	identities := func(seed byte, fixed bool) string {
		lock := testLock()
		lock.Seed[0], lock.SeedFixed = seed, fixed
		plan, err := NewPlan(spec, lock)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(plan.identities)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if identities(1, false) != identities(2, false) {
		t.Error("random IDs are inputs")
	}
	if identities(1, true) == identities(2, true) {
		t.Error("fixed IDs are no inputs")
	}
}

func testLock() Lock {
	return Lock{
		Codename: "trixie", InRelease: "aa", Tools: "bb", Actions: []string{"h1", "h2"},
		Seed: uuid.MustParse("11111111-2222-3333-4444-555555555555"),
	}
}
