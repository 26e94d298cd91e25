import { Editor, Node } from "@tiptap/core";
import { FileHandler } from "@tiptap/extension-file-handler";

export default (main) => {
  const Doc = Node.create({ name: "doc", topNode: true, content: "paragraph+" });
  const Text = Node.create({ name: "text" });
  const Paragraph = Node.create({
    name: "paragraph",
    content: "text*",
    parseHTML: () => [{ tag: "p" }],
    renderHTML: () => ["p", 0],
  });
  const take = (_editor, ...rest) => send(rest.find(Array.isArray));
  const element = put("div", { id: "zone", className: "zone" }, main);
  const extensions = [Doc, Text, Paragraph, FileHandler.configure({ onPaste: take, onDrop: take })];
  new Editor({ element, extensions, content: "<p>Write here</p>" });
};
