// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// secureBootPair returns a private key and its certificate, both in PEM.
func secureBootPair(t *testing.T) (key, certificate string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), encode("CERTIFICATE", der)
}

// systemdBootAssembly returns an assembler of an image with systemd-boot, and its disk.
func systemdBootAssembly(t *testing.T, change func(*Options)) (assembler, Disk) {
	t.Helper()
	const stub, loader = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	files := bootable()
	files["boot/vmlinuz-6.1"], files[stub[1:]], files[loader[1:]] = fileOf(t, stub), fileOf(t, stub), fileOf(t, loader)
	a := newAssembly(t, func(o *Options) {
		o.Distribution, o.Arch, o.Boot, o.PartType = "trixie", "amd64", "systemd-boot", "gpt"
		change(o)
	})
	spec, err := NewSpec(a.Options, a.World)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := newDisk(spec, a.Lock)
	if err != nil {
		t.Fatal(err)
	}
	root, err := target.NewMemory(memoryTree(t, files), treeTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Loader.Configure(disk.Disk, root); err != nil {
		t.Fatal(err)
	}
	tree, err := root.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return assembler{tree: tree, Files: root}, disk
}

// writeVerified writes an image with dm-verity, and returns its bytes.
func writeVerified(t *testing.T, change func(*Options)) []byte {
	t.Helper()
	a, disk := systemdBootAssembly(t, func(o *Options) {
		o.Verity = true
		change(o)
	})
	if _, err := a.write(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(disk.Image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// partitionFile writes a partition of an image to a file.
func partitionFile(t *testing.T, image []byte, number int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "partition")
	p := partitionOf(t, image, number)
	if err := os.WriteFile(name, image[p.Start:p.Start+p.Size], 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func partitionOf(t *testing.T, image []byte, number int) diskimage.FoundPartition {
	t.Helper()
	table, err := diskimage.ReadTable(bytes.NewReader(image), diskimage.Size(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table {
		if p.Number == number {
			return p
		}
	}
	t.Fatalf("no partition %d", number)
	return diskimage.FoundPartition{}
}

// efiFile returns a program on the EFI system partition.
func efiFile(t *testing.T, image []byte, name string) []byte {
	t.Helper()
	p := partitionOf(t, image, 15)
	esp, err := fatread.New(bytes.NewReader(image[p.Start : p.Start+p.Size]))
	if err != nil {
		t.Fatal(err)
	}
	data, err := imagetree.ReadFile(esp, name)
	if err != nil || data == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return data
}

// kernelCommandLine returns the command line in a unified kernel image.
func kernelCommandLine(t *testing.T, program []byte) string {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	section := f.Section(".cmdline")
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	return string(data[:section.VirtualSize])
}

// Issue 19, 3: the root hash on the command line is that of the partitions, which veritysetup verifies.
func TestRootHashIsThatOfTheRootFileSystem(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"auto":       func(*Options) {},
		"fixed size": func(o *Options) { o.SizeAuto, o.Size, o.Swap = false, 800*diskimage.MiB, 16*diskimage.MiB },
	} {
		image := writeVerified(t, change)
		arguments := kernelCommandLine(t, efiFile(t, image, "EFI/Linux/debian-6.1.efi"))
		before, hash, ok := strings.Cut(arguments, " roothash=")
		if !ok || before != "root=/dev/mapper/root ro panic=0" {
			t.Errorf("%s: the command line is %q", name, arguments)
		}
		diskimagetest.Run(t, "veritysetup", "verify", partitionFile(t, image, 1), partitionFile(t, image, 2), hash)
		diskimagetest.Fsck(t, partitionFile(t, image, 1))
		ids := partitionOf(t, image, 1).UUID + partitionOf(t, image, 2).UUID
		if got := strings.ReplaceAll(ids, "-", ""); got != hash {
			t.Errorf("%s: the IDs of the partitions are %s, the root hash is %s", name, got, hash)
		}
		if again := writeVerified(t, change); !bytes.Equal(again, image) {
			t.Errorf("%s: the second image differs", name)
		}
		file := filepath.Join(t.TempDir(), "disk.img")
		if err := os.WriteFile(file, image, 0o600); err != nil {
			t.Fatal(err)
		}
		table := diskimagetest.Run(t, "sfdisk", "--dump", file)
		for _, want := range []string{
			`type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, .*attrs="GUID:60"`,
			`type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, .*attrs="GUID:60"`,
		} {
			if !regexp.MustCompile(want).MatchString(table) {
				t.Errorf("%s: no %q in\n%s", name, want, table)
			}
		}
	}
}

// Firmware with the certificate starts both programs, and the root hash is what the key has signed.
func TestProgramsAreSignedForSecureBoot(t *testing.T) {
	t.Parallel()
	key, certificate := secureBootPair(t)
	image := writeVerified(t, func(o *Options) { o.SecureBootKey, o.SecureBootCert = secret.New(key), certificate })
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(cert, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi", "EFI/Linux/debian-6.1.efi"} {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, efiFile(t, image, name), 0o600); err != nil {
			t.Fatal(err)
		}
		diskimagetest.Run(t, "sbverify", "--cert", cert, file)
	}
	secretLine := strings.Split(key, "\n")[3]
	if bytes.Contains(image, []byte(secretLine)) {
		t.Error("the key is in the image")
	}
}

// A disk of another seed has another root hash; the same seed always gives the same salt.
func TestVerityOptionsComeFromTheSeed(t *testing.T) {
	t.Parallel()
	one, same, other := verityOptions(uuid.Max), verityOptions(uuid.Max), verityOptions(uuid.Nil)
	if one.UUID != same.UUID || !bytes.Equal(one.Salt, same.Salt) || one.UUID == other.UUID ||
		bytes.Equal(one.Salt, other.Salt) || len(one.Salt) != 32 {
		t.Errorf("got %v, %v and %v", one, same, other)
	}
}
