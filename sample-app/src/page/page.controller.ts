import { Controller, Get, Header } from '@nestjs/common';
import { getCachedStats, KvStoreService } from 'nestjs-hotcold';
import { CitiesImporter } from '../cities/cities.importer.js';
import { pageHtml, type Figures } from './page.html.js';
import { RequestCost } from './request-cost.js';

@Controller()
export class PageController {
  constructor(
    private readonly kv: KvStoreService,
    private readonly importer: CitiesImporter,
  ) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  async page(): Promise<string> {
    return pageHtml(await this.stats());
  }

  @Get('stats')
  async stats(): Promise<Figures> {
    return {
      cities: await this.importer.count(),
      importedNow: this.importer.importedNow,
      opened: this.kv.opened,
      store: this.kv.stats(),
      cached: getCachedStats(this.kv),
      residentBytes: process.memoryUsage.rss(),
      lastRequest: RequestCost.last,
    };
  }
}
