// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
)

func TestUpgradesOfGrubNeedNoAnswers(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"var/cache/debconf/templates.dat": "Name: grub-pc/install_devices\nType: multiselect\nOwners: grub-pc\n\nName: grub-pc/install_devices_empty\nType: boolean\n",
		"var/cache/debconf/config.dat": "Name: adduser/x\nTemplate: adduser/x\nValue: y\nOwners: adduser\n\nName: grub-pc/install_devices\nTemplate: grub-pc/install_devices\n" +
			"Value: /dev/sda\nOwners: grub-pc\nFlags: seen\nVariables:\n CHOICES = a\n",
	}
	f := memoryFiles(t, files)
	for range 2 { // a second time changes nothing
		if err := boot.AnswerDebconf(f, boot.GRUB{OnBIOS: true}.Answers()); err != nil {
			t.Fatal(err)
		}
		text, err := f.ReadFile(boot.DebconfAnswers)
		if err != nil {
			t.Fatal(err)
		}
		want := "Name: adduser/x\nTemplate: adduser/x\nValue: y\nOwners: adduser\n\n" +
			"Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: \nFlags: seen\nOwners: grub-pc\nVariables:\n CHOICES = a\n\n" +
			"Name: grub-pc/install_devices_empty\nTemplate: grub-pc/install_devices_empty\nValue: true\nFlags: seen\nOwners: grub-pc\n"
		if string(text) != want {
			t.Errorf("got\n%s\nwant\n%s", text, want)
		}
	}
	delete(files, "var/cache/debconf/templates.dat")
	f = memoryFiles(t, files)
	if err := boot.AnswerDebconf(f, boot.GRUB{OnBIOS: true}.Answers()); err != nil {
		t.Fatal(err)
	}
	if text, err := f.ReadFile(boot.DebconfAnswers); err != nil || !strings.Contains(string(text), "/dev/sda") {
		t.Errorf("without the package: got %s, %v", text, err)
	}
}
