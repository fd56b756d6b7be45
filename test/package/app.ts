/**
 * The application that `npm run check:install` puts on the packed package: the same source for Nest 11 (CommonJS) and
 * Nest 12 (ES modules). Each answer has a random part, so that one that was made anew is told from one that was kept.
 */
import { randomUUID } from 'node:crypto';
import { Controller, Get, Injectable, Module, Param } from '@nestjs/common';
import { Cached, InjectKv, KvModule, KvStoreService, type KvNamespace } from 'nestjs-hotcold';

export interface Forecast {
  city: string;
  id: string;
  /** How many forecasts were made since the store was made. */
  made: number;
}

@Injectable()
export class ForecastService {
  constructor(
    private readonly kv: KvStoreService,
    @InjectKv('counters') private readonly counters: KvNamespace<number>,
  ) {}

  @Cached({ ttl: '1h' })
  async forecast(city: string): Promise<Forecast> {
    await this.kv.set('last city', city);
    return { city, id: randomUUID(), made: await this.counters.increment('made') };
  }
}

@Controller()
export class ForecastController {
  constructor(private readonly forecasts: ForecastService) {}

  @Get('forecast/:city')
  forecast(@Param('city') city: string): Promise<Forecast> {
    return this.forecasts.forecast(city);
  }
}

const path = process.env.DATA_DIR;

@Module({
  imports: [KvModule.forRoot(path ? { path } : {}), KvModule.forFeature([{ name: 'counters' }])],
  controllers: [ForecastController],
  providers: [ForecastService],
})
export class AppModule {}
