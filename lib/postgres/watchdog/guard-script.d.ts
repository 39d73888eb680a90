// Owns the type of a shell script that is imported as text.

declare module "*.sh" {
  const text: string;
  // biome-ignore lint/style/noDefaultExport: that is how an import of text is shaped
  export default text;
}
