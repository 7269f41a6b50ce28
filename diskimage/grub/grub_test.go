package grub_test

import (
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// goodCore is the least that looks like a core.img.
func goodCore(sectors int) []byte {
	core := make([]byte, sectors*512)
	binary.LittleEndian.PutUint16(core[0x1fe:], 0x0820)
	return core
}

func goodBoot() []byte {
	boot := make([]byte, 512)
	boot[510], boot[511] = 0x55, 0xaa
	return boot
}

func TestEmbedBIOSRefusesWhatWouldNotBoot(t *testing.T) {
	t.Parallel()
	withBytes := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, tt := range []struct {
		name       string
		boot, core []byte
		at         grub.Embedding
		want       string
	}{
		{"no end mark", make([]byte, 512), goodCore(4), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "boot.img"},
		{"no room", goodBoot(), goodCore(64), grub.Embedding{CoreLBA: 1, Sectors: 62}, "needs 64 sectors"},
		{"too long", goodBoot(), goodCore(889), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "can load 888"},
		{"sector 0", goodBoot(), goodCore(4), grub.Embedding{Sectors: 2047}, "sector 0"},
		{"other platform", goodBoot(), make([]byte, 2048), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "i386-pc"},
		{"in parts", goodBoot(), withBytes(goodCore(4), 0x1e8, 1), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "parts"},
		{"with redundancy", goodBoot(), withBytes(goodCore(4), 0x210, 1), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "Reed-Solomon"},
	} {
		if _, err := grub.EmbedBIOS(tt.boot, tt.core, tt.at); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestEnvironmentHasItsFixedLength(t *testing.T) {
	t.Parallel()
	if got := len(grub.Environment()); got != grub.EnvironmentSize {
		t.Errorf("got %d bytes, want %d", got, grub.EnvironmentSize)
	}
}

// TestProbeScriptAnswersWhatMkconfigAsks runs the script with the calls of Debian's grub-mkconfig, grub-mkconfig_lib and
// /etc/grub.d.
func TestProbeScriptAnswersWhatMkconfigAsks(t *testing.T) {
	t.Parallel()
	root := grub.ProbeFilesystem{UUID: "11111111-2222-3333-4444-555555555555", PartUUID: "aabbccdd-02", Type: "ext4", Partition: 2}
	boot := grub.ProbeFilesystem{UUID: "1234-ABCD", PartUUID: "aabbccdd-01", Type: "vfat", Partition: 1}
	script := string(grub.ProbeScript(grub.ProbeAnswers{Table: diskimage.MSDOS, Root: root, Boot: &boot}))
	for _, tt := range []struct {
		args, want string
		fails      bool
	}{
		{"--target=device /", root.Device(), false},
		{"--target=device /boot", boot.Device(), false},
		{"--target=fs_uuid --device " + root.Device(), root.UUID, false},
		{"--device " + boot.Device() + " --target=fs_uuid", boot.UUID, false},
		{"--device " + root.Device() + " --target=partuuid", "aabbccdd-02", false},
		{"-t fs -d " + root.Device(), "ext2", false},
		{"--target=fs /boot/grub", "fat", false},
		{"-tfs /usr/share/grub", "ext2", false},
		{"--device " + root.Device() + " --target=partmap", "msdos", false},
		{"--device " + root.Device() + " --target=abstraction", "", false},
		{"--device " + root.Device() + " --target=compatibility_hint", "", false},
		{"--target=drive --device " + root.Device(), "(hd0,msdos2)", false},
		{"--target=fs_uuid --device /dev/sdz1", "", true},
		{"--target=nonsense /", "", true},
		{"--nonsense /", "", true},
	} {
		out, err := exec.Command("sh", append([]string{"-c", script, "grub-probe"}, strings.Fields(tt.args)...)...).Output()
		if (err != nil) != tt.fails {
			t.Errorf("grub-probe %s: %v", tt.args, err)
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != tt.want {
			t.Errorf("grub-probe %s: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestEFIFilesHaveTheNameThatFirmwareLooksFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		arch   string
		signed bool
		want   string
	}{
		{"amd64", true, "usr/lib/shim/shimx64.efi.signed EFI/BOOT/BOOTX64.EFI"},
		{"amd64", false, "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi EFI/BOOT/BOOTX64.EFI"},
		{"arm64", true, "usr/lib/shim/shimaa64.efi.signed EFI/BOOT/BOOTAA64.EFI"},
		{"riscv64", false, "usr/lib/grub/riscv64-efi/monolithic/grubriscv64.efi EFI/BOOT/BOOTRISCV64.EFI"},
	} {
		files, err := grub.EFIFiles(tt.arch, tt.signed)
		if err != nil {
			t.Errorf("%s: %v", tt.arch, err)
			continue
		}
		if got := files[0].From + " " + files[0].To; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.arch, got, tt.want)
		}
	}
	if _, err := grub.EFIFiles("armhf", true); err == nil {
		t.Error("armhf, signed: no error")
	}
	if _, err := grub.EFIFiles("s390x", false); err == nil {
		t.Error("s390x: no error")
	}
}
