// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// Formats of bills of materials.
const (
	CycloneDX = "cyclonedx" // version 1.6, in JSON
	SPDX      = "spdx"      // version 2.3, in JSON
)

// Formats lists the formats that WriteSBOM knows.
func Formats() []string { return []string{CycloneDX, SPDX} }

// WriteSBOM writes a bill of materials of the packages in one of the Formats. The files of no package are not in it:
// SPDX wants SHA-1 digests of files. The same manifest gives the same bill.
func (m Manifest) WriteSBOM(w io.Writer, format string) error {
	switch format {
	case CycloneDX:
		return m.writeCycloneDX(w)
	case SPDX:
		return m.writeSPDX(w)
	}
	return fmt.Errorf("BUG: format %q of a bill of materials", format)
}

// SBOMType returns the media type of a bill of materials in one of Formats (IANA's registry).
func SBOMType(format string) string {
	if format == SPDX {
		return "application/spdx+json"
	}
	return "application/vnd.cyclonedx+json"
}

// title is the name of the system: "Debian 13 (trixie) amd64".
func (m Manifest) title() string {
	s := m.System
	name := strings.TrimSpace(s.Vendor + " " + s.Version)
	return fmt.Sprintf("%s (%s) %s", name, s.Codename, s.Architecture)
}

// distro is the system as package URLs name it: "debian-13", "debian-sid".
func (s System) distro() string {
	return strings.ToLower(s.Vendor) + "-" + cmp.Or(s.Version, s.Codename)
}

// id is different for different manifests, and the same for the same.
func (m Manifest) id() (uuid.UUID, error) {
	var text strings.Builder
	err := m.Write(&text)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(text.String())), err
}

// program splits Program into name and version.
func (m Manifest) program() (name, version string) {
	name, version, _ = strings.Cut(m.Program, " ")
	return name, version
}

// packageURL names a package for scanners (package-url specification, type deb).
func (m Manifest) packageURL(p Package) string {
	escape := func(text string) string { // as the specification does: a plus sign too
		return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), "%3A", ":")
	}
	text := fmt.Sprintf("pkg:deb/%s/%s@%s?arch=%s&distro=%s", escape(strings.ToLower(m.System.Vendor)), escape(p.Name),
		escape(p.Version), escape(p.Architecture), escape(m.System.distro()))
	if p.Source != p.Name || p.SourceVersion != p.Version {
		text += "&upstream=" + escape(p.Source)
		if p.SourceVersion != p.Version {
			text += "%40" + escape(p.SourceVersion)
		}
	}
	return text
}

func (m Manifest) writeCycloneDX(w io.Writer) error {
	id, err := m.id()
	if err != nil {
		return err
	}
	name, version := m.program()
	bom := cyclonedx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + id.String()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: m.Created.UTC().Format(time.RFC3339),
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{
			{Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version}}},
		Component: &cyclonedx.Component{BOMRef: "system", Type: cyclonedx.ComponentTypeOS, Name: m.System.Codename,
			Version: m.System.Version, Description: m.title()},
	}
	components := []cyclonedx.Component{}
	refs := []string{}
	for _, p := range m.Packages {
		c := cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: p.Name, Version: p.Version,
			PackageURL: m.packageURL(p)}
		c.BOMRef = c.PackageURL
		if p.Maintainer != "" {
			c.Supplier = &cyclonedx.OrganizationalEntity{Name: p.Maintainer}
		}
		if p.SHA256 != "" {
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: p.SHA256}}
		}
		var links []cyclonedx.ExternalReference
		if _, err := url.Parse(p.Homepage); err == nil && p.Homepage != "" {
			links = append(links, cyclonedx.ExternalReference{Type: cyclonedx.ERTypeWebsite, URL: p.Homepage})
		}
		if p.Origin != nil && p.Origin.URL != "" {
			links = append(links, cyclonedx.ExternalReference{Type: cyclonedx.ERTypeDistribution, URL: p.Origin.URL})
		}
		if len(links) > 0 {
			c.ExternalReferences = &links
		}
		c.Properties = p.properties()
		components = append(components, c)
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: "system", Dependencies: &refs}}
	e := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON)
	return e.SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// properties are what CycloneDX has no fields for.
func (p Package) properties() *[]cyclonedx.Property {
	all := []cyclonedx.Property{{Name: "vmdebootstrap:source", Value: p.Source},
		{Name: "vmdebootstrap:sourceVersion", Value: p.SourceVersion}}
	if p.License != nil {
		all = append(all, cyclonedx.Property{Name: "vmdebootstrap:licenseFile", Value: p.License.File},
			cyclonedx.Property{Name: "vmdebootstrap:licenseFileSHA256", Value: p.License.SHA256})
	}
	return &all
}

// unknown is the word of SPDX for what is not stated.
const unknown = "NOASSERTION"

func (m Manifest) writeSPDX(w io.Writer) error {
	id, err := m.id()
	if err != nil {
		return err
	}
	name, version := m.program()
	const root = "system"
	doc := v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: m.title(),
		DocumentNamespace: "urn:uuid:" + id.String(),
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: strings.TrimSuffix(name+"-"+version, "-")}},
			Created:  m.Created.UTC().Format(time.RFC3339),
		},
	}
	relate := func(from, kind, to string) {
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{RefA: common.MakeDocElementID("", from),
			Relationship: kind, RefB: common.MakeDocElementID("", to)})
	}
	doc.Packages = append(doc.Packages, &v2_3.Package{
		PackageName: m.title(), PackageSPDXIdentifier: root, PackageVersion: m.System.Version,
		PackageDownloadLocation: unknown, PackageLicenseConcluded: unknown, PackageLicenseDeclared: unknown,
		PackageCopyrightText: unknown, PrimaryPackagePurpose: "OPERATING_SYSTEM",
	})
	relate("DOCUMENT", common.TypeRelationshipDescribe, root)
	for i, p := range m.Packages {
		// A name may have characters that an identifier must not have.
		id := fmt.Sprintf("package-%d", i+1)
		entry := &v2_3.Package{
			PackageName: p.Name, PackageSPDXIdentifier: common.ElementID(id), PackageVersion: p.Version,
			PackageDownloadLocation: unknown, PackageHomePage: p.Homepage, PackageLicenseConcluded: unknown,
			PackageLicenseDeclared: unknown, PackageCopyrightText: unknown,
			PackageSourceInfo: "built from the source package " + p.Source + " " + p.SourceVersion,
			PackageExternalReferences: []*v2_3.PackageExternalReference{
				{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: m.packageURL(p)}},
		}
		if p.Maintainer != "" {
			entry.PackageSupplier = &common.Supplier{Supplier: p.Maintainer, SupplierType: "Organization"}
		}
		if p.Origin != nil && p.Origin.URL != "" {
			entry.PackageDownloadLocation = p.Origin.URL
		}
		if p.SHA256 != "" {
			entry.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: p.SHA256}}
		}
		if p.License != nil {
			entry.PackageLicenseComments = fmt.Sprintf("licence and copyright: %s, SHA-256 %s", p.License.File,
				p.License.SHA256)
		}
		doc.Packages = append(doc.Packages, entry)
		relate(root, common.TypeRelationshipContains, id)
	}
	return spdxjson.Write(&doc, w, spdxjson.Indent("  "), spdxjson.EscapeHTML(false))
}
