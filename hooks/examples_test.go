package hooks_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// contrib is the directory of the examples and of the scripts for continuous integration.
const contrib = "../contrib"

// scripts lists the shell scripts of contrib, by their first line.
func scripts(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*", "ci/*", "examples/*"} {
		found, err := filepath.Glob(filepath.Join(contrib, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err == nil && bytes.HasPrefix(text, []byte("#!/bin/sh\n")) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("no scripts found")
	}
	return names
}

func TestScriptsAreExecutableAndSayWhatTheyDo(t *testing.T) {
	t.Parallel()
	for _, name := range scripts(t) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 != 0o111 {
			t.Errorf("%s is not executable", name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(text), "\n"); !strings.HasPrefix(rest, "# ") {
			t.Errorf("%s does not begin with a comment", name)
		}
		if out, err := exec.CommandContext(t.Context(), tool(t, "dash"), "-n", name).CombinedOutput(); err != nil {
			t.Errorf("dash -n: %v\n%s", err, out)
		}
	}
	examples, err := filepath.Glob(filepath.Join(contrib, "examples/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range examples {
		if text, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(text, []byte("#!/bin/sh\n")) {
			t.Errorf("%s is not a script: %v", name, err)
		}
	}
}

func TestShellcheckFindsNothingInTheExamples(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob(filepath.Join(contrib, "examples/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range examples {
		examples[i] = strings.TrimPrefix(examples[i], "../")
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "shellcheck"), append([]string{"--external-sources"}, examples...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hook runs an example hook on the root directory of a world, whose chroot is a stand-in. The library is the real one.
func (w *world) hook(name string, env ...string) (output string, err error) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(contrib, "examples", name))
	if err != nil {
		w.t.Fatal(err)
	}
	script := filepath.Join(w.dir, name)
	w.write(script, strings.ReplaceAll(string(text), customiseLine, ". '"+w.lib+"'"))
	lib, err := os.ReadFile(filepath.Join(contrib, "examples/u-boot.lib"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(w.dir, "u-boot.lib"), string(lib))
	cmd := exec.CommandContext(w.t.Context(), script, w.root, "image")
	cmd.Dir = w.dir
	cmd.Env = append([]string{"PATH=" + w.bin + ":" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// customiseLine is how hooks find the library, where it is only while they run.
const customiseLine = ". /usr/share/vmdebootstrap/common/customise.lib"

func TestBoardHooksMakeTheKernelStart(t *testing.T) {
	t.Parallel()
	for board, want := range map[string]struct{ console, modules string }{
		"beagleboneblack": {"ttyS0,115200n8", ""},
		"cubietruck":      {"ttyS0,115200n8", "phy-sun4i-usb\nohci-platform\n"},
		"wandboard":       {"ttymxc0,115200n8", "ahci_platform\nahci_imx\nsd_mod\n"},
	} {
		w := newWorld(t)
		if out, err := w.hook(board + "-customise.sh"); err != nil || out != "" {
			t.Errorf("%s: %v\n%s", board, err, out)
			continue
		}
		files := w.tree(".")
		config := "U_BOOT_PARAMETERS=\"ro console=" + want.console + "\"\nU_BOOT_TIMEOUT=\"20\"\n"
		if files["etc/u-boot-menu/conf.d/board.conf"] != config || files["etc/initramfs-tools/modules"] != want.modules {
			t.Errorf("%s: got %q", board, files)
		}
		const after = "etc/initramfs/post-update.d/zz-u-boot-menu"
		if info, err := os.Stat(filepath.Join(w.root, after)); err != nil || info.Mode()&0o111 != 0o111 || !strings.HasPrefix(files[after], "#!/bin/sh\n") {
			t.Errorf("%s: %s is no program: %v", board, after, err)
		}
	}
}

func TestAutologinIsForAUserOfTheImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(filepath.Join(w.root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\ntester:x:1000:1000::/:/bin/sh\n")
	if out, err := w.hook("serial-autologin.sh", "AUTOLOGIN=test"); err == nil || !strings.Contains(out, "no user test in the image") {
		t.Errorf("unknown user: got %v\n%s", err, out)
	}
	for _, user := range []string{"root", "tester"} {
		if out, err := w.hook("serial-autologin.sh", "AUTOLOGIN="+user); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := w.tree("etc/systemd")["etc/systemd/system/serial-getty@.service.d/autologin.conf"]
		if !strings.Contains(got, "\nExecStart=\nExecStart=-/sbin/agetty --autologin "+user+" ") || !strings.HasSuffix(got, " %I $TERM\n") {
			t.Errorf("%s: got %q", user, got)
		}
	}
}

func TestDesktopIsInstalledWithoutDaemons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stand("chroot", `[ "$2" != apt-get ] || [ "$4" != -y ] || [ -x "$1/usr/sbin/policy-rc.d" ]`)
	if out, err := w.hook("desktop.sh", "DESKTOP=mate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(w.transcript)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "install task-mate-desktop task-laptop task-english dkms locales ") {
		t.Errorf("got\n%s", log)
	}
	if got := w.tree("."); len(got) != 1 || got["etc/modprobe.d/qemu-blacklist.conf"] == "" {
		t.Errorf("left behind: %q", got)
	}
}

func TestUserSetupGivesKeysOrAPasswordToChoose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ env, want string }{
		{"AUTHORIZED_KEYS=", "useradd --create-home --shell /bin/bash alice;passwd --delete alice;chage --lastday 0 alice;"},
		{"AUTHORIZED_KEYS=alice.pub", "useradd --create-home --shell /bin/bash alice;sh -c umask 077 "},
	} {
		w.write(filepath.Join(w.dir, "alice.pub"), "ssh-ed25519 AAAA alice\n")
		if err := os.Remove(w.transcript); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if out, err := w.hook("user-setup.sh", "NEW_USER=alice", c.env); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		log, err := os.ReadFile(w.transcript)
		if err != nil {
			t.Fatal(err)
		}
		commands := strings.ReplaceAll(strings.ReplaceAll(string(log), "chroot "+w.root+" ", ""), "\n", ";")
		if !strings.HasPrefix(commands, c.want) {
			t.Errorf("%s: got %q, want %q", c.env, commands, c.want)
		}
	}
	if out, err := w.hook("user-setup.sh", "AUTHORIZED_KEYS=none.pub"); err == nil || !strings.Contains(out, "none.pub cannot be read") {
		t.Errorf("missing keys: got %v\n%s", err, out)
	}
}

// boardImage is a stand-in for vmdebootstrap. It makes an image whose first partition begins at --bootoffset and holds
// the files of the directory u-boot.
const boardImage = `#!/bin/sh
set -eu
echo "$@" >arguments
while [ $# -gt 0 ]; do
	case $1 in
	--image) image=$2 ;;
	--bootoffset) [ "$2" = 4MiB ] ;;
	esac
	shift
done
truncate -s 32M "$image"
echo '4MiB,,L,*' | sfdisk -q "$image"
mke2fs -q -t ext4 -d u-boot -E offset=4194304 "$image" 24M
`

func TestBoardWrappersPutUBootWhereTheROMLooks(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"partx", "debugfs", "sfdisk", "mke2fs"} {
		systemTool(t, program)
	}
	wrappers, err := filepath.Abs(filepath.Join(contrib, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	type file struct {
		name         string
		size, offset int
	}
	// Sizes are those of bookworm.
	for board, files := range map[string][]file{
		"beagleboneblack": {{"am335x_boneblack/MLO", 110_248, 256 * 512}, {"am335x_boneblack/u-boot.img", 755_576, 768 * 512}},
		"cubietruck":      {{"Cubietruck/u-boot-sunxi-with-spl.bin", 612_352, 8 << 10}},
		"wandboard":       {{"wandboard/SPL", 48_128, 1 << 10}, {"wandboard/u-boot.img", 610_176, 69 << 10}},
	} {
		t.Run(board, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write(filepath.Join(w.dir, "fake"), boardImage)
			contents := map[string][]byte{}
			for i, f := range files {
				contents[f.name] = bytes.Repeat([]byte(fmt.Sprintf("%s %d ", board, i)), f.size)[:f.size]
				w.write(filepath.Join(w.dir, "u-boot/usr/lib/u-boot", f.name), string(contents[f.name]))
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(wrappers, board+".sh"), "--size", "5G")
			cmd.Dir = w.dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "VMDEBOOTSTRAP=./fake", "IMAGE=my card.img"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			image, err := os.ReadFile(filepath.Join(w.dir, "my card.img"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if !bytes.Equal(image[f.offset:f.offset+f.size], contents[f.name]) {
					t.Errorf("%s is not at %d", f.name, f.offset)
				}
			}
			if !bytes.Equal(image[510:512], []byte{0x55, 0xaa}) || len(image) != 32<<20 {
				t.Error("the partition table or the length has changed")
			}
			if args, err := os.ReadFile(filepath.Join(w.dir, "arguments")); err != nil || !strings.HasSuffix(string(args), " --size 5G\n") {
				t.Errorf("arguments %q, %v", args, err)
			}
		})
	}
}

func TestWriteUBootOverwritesNothing(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"partx", "debugfs", "sfdisk", "mke2fs"} {
		systemTool(t, program)
	}
	script, err := filepath.Abs(filepath.Join(contrib, "examples/write-u-boot.sh"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.write(filepath.Join(w.dir, "u-boot/SPL"), strings.Repeat("x", 4000))
	w.write(filepath.Join(w.dir, "fake"), boardImage)
	w.write(filepath.Join(w.dir, "gpt"), strings.Replace(boardImage, "'4MiB,,L,*' | sfdisk", "'4MiB,,L' | sfdisk -X gpt", 1))
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = w.dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct{ maker, file, offset, want string }{
		{"./fake", "/SPL", "0", "would overwrite the partition table"},
		{"./fake", "/SPL", "1000", "not a multiple"},
		{"./fake", "/SPL", "4190720", "inside the first partition"},
		{"./fake", "/none", "1024", "no file /none"},
		{"./gpt", "/SPL", "1024", "would overwrite the partition table"},
		{"./fake", "/SPL", "4190208", ""},
		{"./gpt", "/SPL", "17408", ""},
	} {
		if out, err := run(c.maker, "--image", "x.img"); err != nil {
			t.Fatalf("%s: %v\n%s", c.maker, err, out)
		}
		before, err := os.ReadFile(filepath.Join(w.dir, "x.img"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(script, "x.img", c.file, c.offset)
		if (err != nil) != (c.want != "") || !strings.Contains(out, c.want) {
			t.Errorf("%v: got %v, %q", c, err, out)
		}
		after, err := os.ReadFile(filepath.Join(w.dir, "x.img"))
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(before, after); same != (c.want != "") {
			t.Errorf("%v: image unchanged: %v", c, same)
		}
		if err := os.Remove(filepath.Join(w.dir, "x.img")); err != nil {
			t.Fatal(err)
		}
	}
}

// systemTool is tool for programs that are for administrators, whose directories are not in every PATH.
func systemTool(t *testing.T, name string) {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return
		}
	}
	tool(t, name)
}
