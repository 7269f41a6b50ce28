// SPDX-License-Identifier: Apache-2.0

//go:build boot

package f2fs

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// kernelVariable is the environment variable with the path of a Debian package of a kernel,
// linux-image-*.deb, to use instead of that of the machine's own release. Up to trixie it contains
// the modules.
const kernelVariable = "VMDEBOOTSTRAP_TEST_KERNEL"

// TestMain runs guest if this program is the first process of a virtual machine.
func TestMain(m *testing.M) {
	if os.Getpid() == 1 && os.Getenv(guestVariable) != "" {
		guest()
	}
	os.Exit(m.Run())
}

// kernelTree returns all entries, and a directory of 10,000 files.
func kernelTree() fstest.Tree {
	tree := append(adversarialTree(), smallTree()[1:]...)
	return append(tree, fstest.ManyFiles("large", 10_000, 12)...)
}

// The kernel is the most important reader. Few hosts have a module for f2fs, so the test boots
// Debian's kernel in a virtual machine, with this program as /init.
func TestKernelReadsAndChangesWhatWasWritten(t *testing.T) {
	t.Parallel()
	kernel := unpackKernel(t)
	image := write(t, 2*diskimage.GiB, kernelTree())
	var vmlinuz []string
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		found, _ := filepath.Glob(filepath.Join(kernel, pattern))
		vmlinuz = append(vmlinuz, found...)
	}
	if len(vmlinuz) != 1 {
		t.Fatalf("kernels: %q", vmlinuz)
	}
	text := diskimagetest.Boot(t, image, diskimagetest.BootOptions{
		Keep: true, Memory: 1024, Want: guestEnd, Timeout: 10 * time.Minute,
		Args: []string{
			"-kernel", vmlinuz[0], "-initrd", initramfs(t, kernel), "-append",
			"console=ttyS0 quiet panic=-1 " + guestVariable + "=1",
		},
	})
	_, output, _ := strings.Cut(text, guestBegin)
	output, _, ended := strings.Cut(output, guestEnd) // after it the kernel may print messages about powering off
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" {
			t.Error(line)
		}
	}
	if !ended {
		t.Errorf("the console ended early:\n%s", text)
	}
	diskimagetest.Fsck(t, image)
}

// unpackKernel returns a directory with the files of Debian's kernel package.
func unpackKernel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	deb := os.Getenv(kernelVariable)
	if deb == "" {
		const meta = "linux-image-amd64"
		depends := diskimagetest.Run(t, "apt-cache", "depends", "--important", meta)
		_, name, found := strings.Cut(depends, "Depends: ")
		if !found {
			diskimagetest.Missing(t, "the list with "+meta)
		}
		name, _, _ = strings.Cut(name, "\n")
		cmd := exec.CommandContext(t.Context(), "apt-get", "download", "-q", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			diskimagetest.Missing(t, fmt.Sprintf("%s: %v\n%s", name, err, out))
		}
		debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(debs) != 1 {
			t.Fatalf("packages: %q, %v", debs, err)
		}
		deb = debs[0]
	}
	root := filepath.Join(dir, "root")
	diskimagetest.Run(t, "dpkg-deb", "-x", deb, root)
	return root
}

// initramfs creates an archive of this program and the modules that it needs, in the order of
// loading.
func initramfs(t *testing.T, kernel string) string {
	t.Helper()
	root := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "init"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, pattern := range []string{"lib/modules/*/kernel", "usr/lib/modules/*/kernel"} {
		dirs, _ := filepath.Glob(filepath.Join(kernel, pattern))
		for _, dir := range dirs {
			_ = filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
				module, _, isModule := strings.Cut(filepath.Base(name), ".ko")
				if err == nil && isModule {
					files[strings.ReplaceAll(module, "-", "_")] = name
				}
				return err
			})
		}
	}
	var order []string
	var add func(name string)
	add = func(name string) {
		if slices.Contains(order, name) || files[name] == "" {
			return // built in
		}
		to := filepath.Join(root, name)
		from := files[name]
		data, err := os.ReadFile(from)
		if err == nil && strings.HasSuffix(from, ".xz") {
			data, err = exec.Command(diskimagetest.Tool(t, "xz"), "-dc", from).Output()
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, dependency := range dependencies(t, data) {
			add(dependency)
		}
		order = append(order, name)
	}
	// The dependencies of f2fs do not include modules that it requests by alias.
	for _, name := range []string{"virtio_pci", "virtio_blk", "crc32_generic", "f2fs"} {
		add(name)
	}
	if !slices.Contains(order, "f2fs") {
		t.Fatalf("the kernel has no module f2fs among %d", len(files))
	}
	if err := os.WriteFile(filepath.Join(root, "modules"), []byte(strings.Join(order, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "initramfs")
	cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "cpio"), "--quiet", "-o", "-H", "newc", "-R", "0:0",
		"-F", archive)
	cmd.Dir, cmd.Stdin = root, strings.NewReader("init\nmodules\n"+strings.Join(order, "\n")+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	return archive
}

// dependencies returns the modules that a module depends on.
func dependencies(t *testing.T, module []byte) []string {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			names = strings.Split(strings.ReplaceAll(list, "-", "_"), ",")
		}
	}
	return names
}

// The variable of the guest, and its first and last messages.
const (
	guestVariable = "F2FS_TEST_GUEST"
	guestBegin    = "comparison begins"
	guestEnd      = "comparison ends"
)

// guest is the first process of the virtual machine. It reports differences on the console and
// powers the machine off.
func guest() {
	report := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	for _, m := range []struct{ source, dir, kind string }{{"dev", "/dev", "devtmpfs"}, {"proc", "/proc", "proc"}} {
		_ = os.Mkdir(m.dir, 0o755)
		if err := unix.Mount(m.source, m.dir, m.kind, 0, ""); err != nil {
			report("mount %s: %v", m.dir, err)
		}
	}
	if console, err := os.OpenFile("/dev/console", os.O_RDWR, 0); err == nil {
		os.Stdout = console
	}
	modules, _ := os.ReadFile("/modules")
	for name := range strings.FieldsSeq(string(modules)) {
		data, err := os.ReadFile("/" + name)
		if err == nil {
			err = unix.InitModule(data, "")
		}
		if err != nil {
			report("load %s: %v", name, err)
		}
	}
	const device, at = "/dev/vda", "/mnt"
	for range 100 {
		if _, err := os.Stat(device); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond) // a poll: there is no notification
	}
	_ = os.Mkdir(at, 0o755)
	report(guestBegin)
	if err := unix.Mount(device, at, Type, unix.MS_RDONLY, ""); err != nil {
		report("mount read-only: %v", err)
	}
	compareMounted(report, at, kernelTree())
	if err := unmount(at); err != nil {
		report("unmount: %v", err)
	}
	if err := unix.Mount(device, at, Type, 0, ""); err != nil {
		report("mount: %v", err)
	}
	if err := change(at); err != nil {
		report("change: %v", err)
	}
	if err := unmount(at); err != nil {
		report("unmount: %v", err)
	}
	log, err := kernelLog()
	if err != nil {
		report("kernel log: %v", err)
	}
	for line := range strings.Lines(log) {
		const warning = "<4>"
		if strings.Contains(line, "F2FS-fs") && line[:len(warning)] <= warning {
			report("kernel: %s", strings.TrimSpace(line))
		}
	}
	unix.Sync()
	report(guestEnd)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// unmount unmounts a directory, after the garbage collector has closed the root of the tree.
func unmount(at string) (err error) {
	for range 100 {
		runtime.GC()
		if err = unix.Unmount(at, 0); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond) // a poll: there is no notification
	}
	return err
}

// kernelLog returns the log that dmesg(1) prints.
func kernelLog() (string, error) {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL
	log := make([]byte, 1<<20)
	n, err := unix.Klogctl(readAll, log)
	return string(log[:max(n, 0)]), err
}

// change modifies files of all kinds as a running system does.
func change(at string) error {
	for i := range 3000 {
		name := filepath.Join(at, "large", fmt.Sprintf("new %d", i))
		if err := os.WriteFile(name, fstest.Pattern(uint64(i), i*7), 0o644); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(at, "large", fmt.Sprintf("%012d", 3*i))); err != nil {
			return err
		}
	}
	for _, name := range []string{"etc/hello", "etc/3488", "etc/ping", "etc/zeros", "sparse/many", "sparse/edges",
		"hole", "small hole"} {
		file, err := os.OpenFile(filepath.Join(at, name), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = file.Write(fstest.Pattern(8, 10000))
		if err == nil {
			err = file.Truncate(1 << 30)
		}
		if err == nil {
			err = file.Sync() // written to the log, for the roll-forward recovery
		}
		if err == nil {
			err = file.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range []string{"etc/hello2", "etc/ping", "xattr/0300", "xattr/xdir", "acl", "acl/file"} {
		for _, x := range []string{"user.new", "user.a", "trusted.dir"} {
			if err := unix.Setxattr(filepath.Join(at, name), x, fstest.Pattern(9, 100), 0); err != nil {
				return fmt.Errorf("%s: %s: %w", name, x, err)
			}
		}
	}
	for _, name := range []string{"deep", "long", "many", "sparse/solid", "sparse/largest", "links", "slots 182",
		"xattr/several"} {
		if err := os.RemoveAll(filepath.Join(at, name)); err != nil {
			return err
		}
	}
	for i := range 300 {
		if err := os.MkdirAll(filepath.Join(at, "slots 183", fmt.Sprintf("dir %d", i), "sub"), 0o755); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(at, "etc"), filepath.Join(at, "dev/etc"))
}

// compareMounted compares a mounted file system with its source tree.
func compareMounted(report func(string, ...any), at string, tree fstest.Tree) {
	want, links := map[string]diskimage.Entry{}, map[string]uint64{}
	for _, e := range tree {
		if e.HardLink != "" {
			e.Open = want[e.HardLink].Open
			links[e.HardLink]++
		}
		want[e.Name] = e
		if e.IsDir() && e.Name != "." {
			links[path.Dir(e.Name)]++
		}
	}
	seen, opens := 0, map[string]func() (diskimage.Content, error){}
	for got, err := range diskimage.NewDirTree(at).Entries() {
		if err != nil {
			report("%v", err)
			return
		}
		if opens[got.Name] = got.Open; got.HardLink != "" {
			got.Open = opens[got.HardLink]
		}
		w, ok := want[got.Name]
		if !ok {
			report("%q is not in the tree", got.Name)
			continue
		}
		seen++
		if g, w := describeMounted(got), describeMounted(w); g != w {
			report("%q: got %s, want %s", got.Name, g, w)
		}
		count := 1 + links[w.Name] + links[w.HardLink]
		if w.IsDir() {
			count++
		}
		compareSystem(report, filepath.Join(at, got.Name), w, count)
	}
	if seen != len(tree) {
		report("%d names, want %d", seen, len(tree))
	}
}

// describeMounted formats all properties of an entry that must be equal, except links and extended
// attributes.
func describeMounted(e diskimage.Entry) string {
	mtime := newStamp(e.ModTime)
	text := fmt.Sprintf("mode %o owner %d:%d time %d.%09d size %d device %d:%d link %.80q data ", e.Mode, e.UID, e.GID,
		mtime.seconds, mtime.nanoseconds, e.Size, e.Major, e.Minor, e.Linkname)
	if !e.IsRegular() || e.Size == 0 {
		return text + "none"
	}
	content, err := e.Open()
	if err != nil {
		return text + err.Error()
	}
	defer content.Close()
	sum := sha256.New()
	n := inode.Inode{Size: e.Size, Data: e.Data, Dense: e.Dense}
	for _, s := range n.Spans() {
		start, end := int64(s.Start)*disk.BlockSize, min(int64(s.End)*disk.BlockSize, e.Size)
		text += fmt.Sprintf("%d-%d ", start, end)
		if _, err := io.Copy(sum, io.NewSectionReader(content, start, end-start)); err != nil {
			return text + err.Error()
		}
	}
	return fmt.Sprintf("%s sum %x", text, sum.Sum(nil)[:8])
}

// compareSystem compares the properties that need system calls: the number of links and blocks, and
// all extended attributes.
func compareSystem(report func(string, ...any), name string, want diskimage.Entry, links uint64) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		report("%v", err)
	}
	if want.HardLink == "" && uint64(st.Nlink) != links {
		report("%q has %d links, want %d", name, st.Nlink, links)
	}
	if atime := newStamp(fstest.Time); st.Ctim.Sec != atime.seconds || st.Ctim.Nsec != int64(atime.nanoseconds) {
		report("%q has been changed at %d.%d", name, st.Ctim.Sec, st.Ctim.Nsec)
	}
	list := make([]byte, 1<<16)
	size, err := unix.Llistxattr(name, list)
	if err != nil {
		report("%q: list extended attributes: %v", name, err)
	}
	if got := bytes.Count(list[:max(size, 0)], []byte{0}); got != len(want.Xattrs) {
		report("%q: %d extended attributes, want %d: %q", name, got, len(want.Xattrs), list[:size])
	}
	for _, x := range want.Xattrs {
		value := make([]byte, 1<<16)
		size, err := unix.Lgetxattr(name, x.Name, value)
		if err != nil || !bytes.Equal(value[:max(size, 0)], x.Value) {
			report("%q: %s: got %x, %v, want %x", name, x.Name, value[:max(size, 0)], err, x.Value)
		}
	}
}
